// Sends a letter as Nodemailer does: HOST PORT FROM TO SUBJECT.
const [host, port, from, to, subject] = process.argv.slice(2);
const transport = require("nodemailer").createTransport({ host, port: Number(port), requireTLS: true });
transport.sendMail({ from, to, subject, text: "Hello." }, (error) => {
  if (error) console.error(error);
  process.exit(error ? 1 : 0);
});
