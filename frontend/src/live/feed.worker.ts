/** SharedWorker: the only EventSource of this browser. HTTP/1.1 allows six connections a host, so tabs must share. */
import { type FeedMessage, openFeed } from './source';

const scope = self as unknown as { onconnect: (event: MessageEvent) => void };
const ports = new Map<MessagePort, number>();
let connected: boolean | undefined; // before the first greeting or failure nobody knows
let told = performance.now(); // when something changed last

openFeed((message) => {
  if (message.kind === 'status') connected = message.connected;
  told = message.kind === 'status' ? (message.quiet === undefined ? told : performance.now() - message.quiet) : performance.now();
  for (const port of ports.keys()) port.postMessage(message);
});

function greet(port: MessagePort): void {
  if (connected !== undefined) port.postMessage({ kind: 'status', connected, quiet: connected ? performance.now() - told : undefined } satisfies FeedMessage);
}

scope.onconnect = (event) => {
  const port = event.ports[0]!;
  ports.set(port, Date.now());
  port.onmessage = ({ data }) => {
    const forgotten = !ports.has(port);
    if (data === 'bye') ports.delete(port);
    else ports.set(port, Date.now());
    if (data === 'bye' || !forgotten) return;
    greet(port); // it slept so long that it was taken for dead
    port.postMessage({ kind: 'resync' });
  };
  port.start();
  greet(port);
};

// A tab that crashed says no goodbye; a hidden one still reports once a minute.
setInterval(() => {
  for (const [port, seen] of ports) if (Date.now() - seen > 180_000) ports.delete(port);
}, 60_000);
