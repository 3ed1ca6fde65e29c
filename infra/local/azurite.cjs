// Loaded before Azurite (node --require). Azurite saves its rows at SIGINT only
// after its server has closed, and a server closes only when its last
// connection has: one that a client opened and has not used yet would hold it
// up for a minute. So closing the server here ends its connections too.
"use strict";

const https = require("node:https");

const create = https.createServer;
https.createServer = (...args) => {
  const server = create(...args);
  const open = new Set();
  server.on("connection", (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  const close = server.close.bind(server);
  server.close = (done) => {
    close(done);
    for (const socket of open) socket.destroy();
    return server;
  };
  return server;
};
