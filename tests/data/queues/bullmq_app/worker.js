// A worker of a school's application. worker.js MODULE PORT QUEUE
const path = require("path");
const { Worker } = require(path.join(process.env.NPM_MODULES, process.argv[2]));
const Redis = require(path.join(process.env.NPM_MODULES, "ioredis"));
const connection = { host: "127.0.0.1", port: Number(process.argv[3]) };

const client = new Redis(connection.port, connection.host);

async function work(job) {
  const mark = (word) => client.rpush("test:ran", word);
  if (job.name === "fail") throw new TypeError("no report of " + job.data.tenant);
  if (job.name === "flaky" && !(await client.get("test:works"))) throw new Error("not yet: " + job.data.tenant);
  await mark(`${job.name} ${job.data.tenant} ${job.data.id ?? 0}`);
  if (job.name === "slow") {
    await new Promise((done) => setTimeout(done, job.data.ms));
    await mark(`slow ended ${job.data.tenant}`);
  }
  return { ok: true };
}

const worker = new Worker(process.argv[4], work,
  { connection, lockDuration: 2000, stalledInterval: 600000, name: "one" });
worker.on("ready", () => console.log("ready"));
