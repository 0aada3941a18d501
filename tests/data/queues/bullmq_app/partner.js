// Answers a test's questions by BullMQ's own library: a JSON object a line. partner.js MODULE PORT
const path = require("path");
const { Queue } = require(path.join(process.env.NPM_MODULES, process.argv[2]));
const connection = { host: "127.0.0.1", port: Number(process.argv[3]) };
const queues = {};
const of = (name) => (queues[name] ||= new Queue(name, { connection }));

const answers = {
  add: async (q) => (await of(q.queue).add(q.name, q.data, q.options)).id,
  scheduler: async (q) => (await of(q.queue).upsertJobScheduler(q.id, q.repeat, { name: q.name, data: q.data })).id,
  counts: async (q) => {
    const c = await of(q.queue).getJobCounts();
    return [(c.waiting || 0) + (c.paused || 0) + (c.prioritized || 0), c.active, c.delayed, c.failed, c.completed,
      c["waiting-children"]].join(" ");
  },
  state: async (q) => of(q.queue).getJobState(q.id),
  paused: async (q) => of(q.queue).isPaused(),
  pause: async (q) => { await of(q.queue).pause(); return "ok"; },
  resume: async (q) => { await of(q.queue).resume(); return "ok"; },
  retry: async (q) => { await (await of(q.queue).getJob(q.id)).retry(); return "ok"; },
  workers: async (q) => (await of(q.queue).getWorkers()).length,
};

console.log("ready");
require("readline").createInterface({ input: process.stdin }).on("line", async (line) => {
  const q = JSON.parse(line);
  try {
    console.log(String(await answers[q.op](q)));
  } catch (error) {
    console.log("error " + error.message);
  }
});
