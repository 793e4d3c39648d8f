// Node's net.connect with autoSelectFamily: each port in turn, with a timer of 10 seconds.
//
// Usage: node node.mjs HOST PORT... Of each number on standard input it makes that many dials, and
// prints the milliseconds that they took and the port that the last one reached (0: none).
import { connect } from "node:net";
import { createInterface } from "node:readline";

const [host, ...ports] = process.argv.slice(2);

function attempt(port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port, autoSelectFamily: true, timeout: 10_000 });
    const end = (reached) => {
      socket.destroy();
      resolve(reached);
    };
    socket.once("connect", () => end(true));
    socket.once("timeout", () => end(false));
    socket.on("error", () => end(false));
  });
}

async function dial() {
  for (const port of ports) {
    if (await attempt(port)) return port;
  }
  return 0;
}

for await (const times of createInterface({ input: process.stdin })) {
  const start = performance.now();
  let port = 0;
  for (let i = 0; i < times; i++) port = await dial();
  console.log(`${(performance.now() - start).toFixed(3)} ${port}`);
}
