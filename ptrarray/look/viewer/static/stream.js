// The stream of what the store holds: one connection, which comes back by itself.

const SLOWEST = 10_000; // milliseconds between attempts
const MOST_POINTS = 600;

/** What is told: {type: "store", data}, {type: "waiting"}. */
export class Stream {
  constructor(url, tell) {
    this.url = url;
    this.tell = tell;
    this.last = "";
    this.history = [];
    this.latest = undefined;
    this.pause = 500;
  }

  open() {
    if (this.source) return;
    const after = this.last ? `?last=${encodeURIComponent(this.last)}` : "";
    const source = new EventSource(this.url + after);
    this.source = source;
    source.addEventListener("store", (event) => {
      this.pause = 500;
      this.last = event.lastEventId;
      const data = JSON.parse(event.data);
      this.note(data.history);
      this.latest = { type: "store", data: { ...data, history: this.history } };
      this.tell(this.latest);
    });
    // Who comes back gets nothing until something is new: what was told last is as it was.
    source.onopen = () => this.latest && this.tell(this.latest);
    source.onerror = () => {
      this.tell({ type: "waiting" });
      // After some answers a browser never asks again: then it is done here.
      if (source.readyState === EventSource.CLOSED) this.again();
    };
  }

  again() {
    this.close();
    this.timer = setTimeout(() => this.open(), this.pause);
    this.pause = Math.min(this.pause * 2, SLOWEST);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  note(points) {
    const newest = this.history.at(-1)?.[0] ?? 0;
    this.history = [...this.history, ...points.filter((point) => point[0] > newest)];
    if (this.history.length > MOST_POINTS) {
      const end = this.history.at(-1);
      this.history = [...this.history.slice(0, -1).filter((_, at) => at % 2 === 0), end];
    }
  }
}

/** Listen to the store while this tab is looked at; with all other tabs on one connection where that can be. */
export function listen(tell) {
  let end = () => {};
  const begin = () => {
    end = window.SharedWorker ? shared(tell) : alone(tell);
  };
  document.addEventListener("visibilitychange", () => {
    end();
    end = () => {};
    if (!document.hidden) begin();
  });
  addEventListener("pagehide", () => end());
  addEventListener("pageshow", (event) => event.persisted && begin());
  if (!document.hidden) begin();
}

function alone(tell) {
  const stream = new Stream("api/events", tell);
  stream.open();
  return () => stream.close();
}

function shared(tell) {
  const worker = new SharedWorker("worker.js", { type: "module", name: "events" });
  let end = () => {
    worker.port.postMessage("bye");
    worker.port.close();
  };
  worker.port.onmessage = (event) => tell(event.data);
  worker.onerror = () => {
    end();
    end = alone(tell);
  };
  return () => end();
}
