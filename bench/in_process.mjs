// What a successful call through a breaker of this process costs on Node: cockatiel and opossum, beside a bare await.
//
//     node in_process.mjs NODE_MODULES [--quick]
//
// Rounds and figures as those of rounds.h; what is not installed is skipped by name.
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";

const quick = process.argv.includes("--quick");
const require = createRequire(path.join(path.resolve(process.argv[2]), "x.js"));
const BATCH = quick ? 100 : 10000;
const BATCHES = quick ? 3 : 11;
const succeed = async () => 1;

const subjects = { bare_await: succeed };

function add(name, make) {
    try {
        subjects[name] = make(require(name));
    } catch (error) {
        console.log(`skipped ${name}: ${String(error.message).split("\n")[0]}`);
    }
}

add("cockatiel", ({ circuitBreaker, handleAll, ConsecutiveBreaker }) => {
    const policy = circuitBreaker(handleAll, { halfOpenAfter: 60000, breaker: new ConsecutiveBreaker(5) });
    return () => policy.execute(succeed);
});
add("opossum", (CircuitBreaker) => {
    // Without a timer for each call, which the others do not have either.
    const breaker = new CircuitBreaker(succeed, { timeout: false, resetTimeout: 60000 });
    return () => breaker.fire();
});

async function callNs(call) {
    const each = [];
    for (let batch = 0; batch < BATCHES; batch++) {
        const begun = process.hrtime.bigint();
        for (let i = 0; i < BATCH; i++) await call();
        each.push(Number(process.hrtime.bigint() - begun) / BATCH);
    }
    return each.sort((a, b) => a - b)[(BATCHES - 1) / 2];
}

// Compiled as well as it will be.
for (let i = 0; i < (quick ? 1 : 5); i++) for (const call of Object.values(subjects)) await callNs(call);
console.log("ready");
for await (const _ of createInterface({ input: process.stdin })) {
    for (const [name, call] of Object.entries(subjects)) console.log(`in_process.${name} ${await callNs(call)} ns`);
    console.log(".");
}
process.exit(0); // opossum keeps a timer for its window
