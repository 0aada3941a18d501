# Answers a test's questions by Sidekiq's own API: a JSON object a line.
require "json"
require "sidekiq/api"
require_relative "jobs"

def answer(q)
  case q["op"]
  when "push" then Object.const_get(q["class"]).perform_async(*q["args"])
  when "push_in" then Object.const_get(q["class"]).perform_in(q["in"], *q["args"])
  when "size" then Sidekiq::Queue.new(q["queue"]).size
  when "latency" then Sidekiq::Queue.new(q["queue"]).latency
  when "sets"
    [Sidekiq::ScheduledSet.new, Sidekiq::RetrySet.new, Sidekiq::DeadSet.new].map do |set|
      set.count { |job| job.queue == q["queue"] }
    end.join(" ")
  when "busy" then Sidekiq::Workers.new.size
  when "processes" then Sidekiq::ProcessSet.new.map { |p| "#{p["pid"]} #{p["busy"]} #{p.stopping?}" }.join("\n")
  when "retry_all" then Sidekiq::RetrySet.new.retry_all
  when "ids" then Sidekiq::Queue.new(q["queue"]).map(&:jid).join(" ")
  else "unknown"
  end
end

STDOUT.sync = true
puts "ready"
STDIN.each_line do |line|
  begin
    puts answer(JSON.parse(line)).to_s
  rescue StandardError => error
    puts "error #{error.class}: #{error.message}"
  end
end
