// Preloaded by node: a server that would listen on all interfaces listens on loopback alone, and tells its port on stderr.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, listening) {
  this.once("listening", () => console.error(`running on http://127.0.0.1:${this.address().port}`));
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, listening);
};
