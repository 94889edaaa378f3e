/** SharedWorker: the only EventSource of this browser. HTTP/1.1 allows six connections a host, so tabs must share. */
import { openFeed } from './source';

const scope = self as unknown as { onconnect: (event: MessageEvent) => void };
const ports = new Map<MessagePort, number>();
let connected = false;

openFeed((message) => {
  if (message.kind === 'status') connected = message.connected;
  for (const port of ports.keys()) port.postMessage(message);
});

scope.onconnect = (event) => {
  const port = event.ports[0]!;
  ports.set(port, Date.now());
  port.onmessage = ({ data }) => (data === 'bye' ? ports.delete(port) : ports.set(port, Date.now()));
  port.start();
  port.postMessage({ kind: 'status', connected });
};

// A tab that crashed says no goodbye; a hidden one still reports once a minute.
setInterval(() => {
  for (const [port, seen] of ports) if (Date.now() - seen > 180_000) ports.delete(port);
}, 60_000);
