/*
 * Search in a folder that no server serves. A browser starts no Worker for a page at file://,
 * so there the script of the worker runs in a hidden frame of this page instead. Elsewhere
 * this changes nothing.
 */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.ready = new Promise((resolve) => {
        this.frame.addEventListener("load", () => this.begin(url, resolve), { once: true })
      })
      document.body.append(this.frame)
    }

    /* Give the frame what a worker's script expects of its world, then the script. */
    begin(url, resolve) {
      const inner = this.frame.contentWindow
      const address = new URL(url, location.href)
      const load = (each) =>
        new Promise((loaded, failed) => {
          const script = inner.document.createElement("script")
          script.src = new URL(each, address)
          script.onload = loaded
          script.onerror = failed
          inner.document.body.append(script)
        })
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      inner.importScripts = (...urls) =>
        urls.reduce((before, each) => before.then(() => load(each)), Promise.resolve())
      load(address).then(() => resolve(inner))
    }

    postMessage(data) {
      this.ready.then((inner) => {
        inner.dispatchEvent(new inner.MessageEvent("message", { data }))
      })
    }

    terminate() {
      this.frame.remove()
    }
  }
}
