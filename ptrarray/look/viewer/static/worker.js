// One stream for all tabs of a browser, as a browser has six connections to a server.

import { Stream } from "./stream.js";

const ports = new Set();
let latest = null;
let isWaiting = true;

const stream = new Stream("api/events", (message) => {
  isWaiting = message.type === "waiting";
  if (!isWaiting) latest = message;
  ports.forEach((port) => port.postMessage(message));
});

onconnect = (event) => {
  const port = event.ports[0];
  ports.add(port);
  port.onmessage = () => {
    ports.delete(port);
    if (!ports.size) {
      stream.close();
      isWaiting = true;
    }
  };
  if (latest && !isWaiting) port.postMessage(latest);
  stream.open();
};
