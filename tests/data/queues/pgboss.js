// pg-boss as a partner of test_pgboss.c: answers one line for each line (JSON) of its input.
// usage: node pgboss.js MODULE-FOLDER DSN SCHEMA
const [folder, connectionString, schema] = process.argv.slice(2)
const PgBoss = require(folder)
const major = parseInt(require(folder + '/package.json').version)
const boss = new PgBoss({ connectionString, schema, max: 3, maintenanceIntervalSeconds: 600 })
const ran = []
let mended = false

function run (job) {
  if (job.data.fail && !mended) throw new RangeError('no report of ' + job.data.fail)
  if (job.data.hold) return new Promise(() => {})
  ran.push(job.id)
}

const ops = {
  queue: async ({ name, options }) => major > 9 ? (await boss.createQueue(name, { name, policy: 'standard', ...options }), 'ok') : 'ok',
  send: ({ name, data, options }) => boss.send(name, data, options),
  work: async ({ name }) => {
    if (major === 9) await boss.work(name, { newJobCheckInterval: 200 }, async job => run(job))
    else await boss.work(name, { pollingIntervalSeconds: 0.5 }, async ([job]) => run(job))
    return 'ok'
  },
  mend: async () => ((mended = true), 'ok'),
  ran: async () => ran.length,
  has: async ({ id }) => ran.includes(id) ? 1 : 0,
  size: ({ name }) => major === 11 ? boss.getQueueStats(name).then(s => s.queuedCount) : boss.getQueueSize(name),
  state: async ({ name, id }) => (await (major === 9 ? boss.getJobById(id) : boss.getJobById(name, id))).state,
  schedule: async ({ name, cron, tz, data }) => (await boss.schedule(name, cron, data, { tz }), 'ok')
}

boss.on('error', error => console.error(error.message))
boss.start().then(() => {
  console.log('ready')
  let last = Promise.resolve()
  require('readline').createInterface({ input: process.stdin }).on('line', line => {
    const { op, ...rest } = JSON.parse(line)
    last = last.then(() => ops[op](rest)).then(answer => console.log(String(answer)), error => console.log('error ' + error.message))
  })
}, error => { console.error(error); process.exit(1) })
