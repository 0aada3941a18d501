# Jobs of a school's application, for tests with real Sidekiq.
require "sidekiq"

Redis.sadd_returns_boolean = false if Redis.respond_to?(:sadd_returns_boolean=)

# average: how often due jobs are looked for (seconds)
Sidekiq.configure_server { |config| config.options[:poll_interval_average] = 1 } if Sidekiq.respond_to?(:configure_server)

def mark(word)
  Sidekiq.redis { |connection| connection.rpush("test:ran", word) }
end

class OkJob
  include Sidekiq::Worker
  def perform(tenant, number = 0)
    mark("ok #{tenant} #{number}")
  end
end

# Fails unless the key test:works is there.
class FlakyJob
  include Sidekiq::Worker
  sidekiq_options retry: 5, backtrace: 10, queue: "exports"
  sidekiq_retry_in { 3600 }
  def perform(tenant)
    raise ArgumentError, "not yet: #{tenant}" unless Sidekiq.redis { |c| c.get("test:works") }
    mark("flaky #{tenant}")
  end
end

class DeadJob
  include Sidekiq::Worker
  sidekiq_options retry: 0, queue: "exports"
  def perform(tenant)
    raise "dead at once"
  end
end

class SlowJob
  include Sidekiq::Worker
  def perform(tenant, seconds)
    mark("slow #{tenant}")
    sleep seconds
    mark("slow ended #{tenant}")
  end
end
