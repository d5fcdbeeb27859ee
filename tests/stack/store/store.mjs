// An S3-compatible store over TLS: node store.mjs HOST PORT FOLDER KEY CERTIFICATE
// It verifies the signature of every request. Its only key is S3RVER, with the secret S3RVER.
import { readFileSync } from "node:fs";
import S3rver from "s3rver";

const [address, port, directory, key, cert] = process.argv.slice(2);
await new S3rver({
  address,
  port: Number(port),
  directory,
  key: readFileSync(key),
  cert: readFileSync(cert),
  vhostBuckets: false,
  silent: true,
  configureBuckets: [{ name: "dagster-backups" }],
}).run();
