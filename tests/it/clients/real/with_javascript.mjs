// @aws-sdk/client-s3 with lib-storage, s3-request-presigner: buffers, streams, uploads in parts. See world.py for what it is told.

import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Readable } from "node:stream";

const tool = createRequire(path.join(process.env.TOOLS, "package.json"));
const { S3Client, PutObjectCommand, GetObjectCommand, HeadObjectCommand, DeleteObjectCommand, DeleteObjectsCommand, ListObjectsV2Command } =
  tool("@aws-sdk/client-s3");
const { Upload } = tool("@aws-sdk/lib-storage");
const { getSignedUrl } = tool("@aws-sdk/s3-request-presigner");

const { S3_ENDPOINT: endpoint, S3_BUCKET: Bucket, S3_PREFIX: prefix, S3_FORBIDDEN: forbidden, AWS_REGION: region } = process.env;
const ODD = ["with blank", "+plus+", "100%", "%2F", "~!'()", "@:$,;=&", "ü/日本", "deep/a/b/c/d/e/f", "h#f", "[x]{y}", "*", "q?x=y"];
const PATIENCE_MS = 20_000;
const small = randomBytes(70_001);
const large = randomBytes((20 << 20) + 1);

const s3 = new S3Client({ endpoint, region, forcePathStyle: true });
// With the default settings a presigned PUT would name the checksum of an empty body.
const plain = new S3Client({ endpoint, region, forcePathStyle: true, requestChecksumCalculation: "WHEN_REQUIRED" });
const manifest = JSON.parse(fs.readFileSync(path.join(process.env.TOOLS, "node_modules/@aws-sdk/client-s3/package.json")));
const report = { client: "@aws-sdk/client-s3, lib-storage", version: manifest.version, steps: {} };

async function step(name, work) {
  try {
    await work();
    report.steps[name] = "ok";
  } catch (error) {
    console.error(name, error);
    report.steps[name] = `${error}`.slice(0, 1000);
  }
}

function same(got, wanted, what = "") {
  const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
  if (got.length !== wanted.length || digest(got) !== digest(wanted)) throw new Error(`${what}: ${got.length} bytes, other than the ${wanted.length} sent`);
}

function equal(got, wanted) {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) throw new Error(`${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
}

const put = (key, Body, more = {}) => s3.send(new PutObjectCommand({ Bucket, Key: prefix + key, Body, ...more }));
const read = async (key, more = {}) => Buffer.from(await (await s3.send(new GetObjectCommand({ Bucket, Key: prefix + key, ...more }))).Body.transformToByteArray());
async function names(folder = "") {
  const page = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: prefix + folder }));
  return (page.Contents ?? []).map((entry) => entry.Key.slice(prefix.length)).sort();
}

async function fetched(url, init) {
  const answer = await fetch(url, init);
  const body = Buffer.from(await answer.arrayBuffer());
  if (!answer.ok) throw new Error(`${init?.method ?? "GET"} ${url}: ${answer.status} ${body}`);
  return body;
}

await step("put", async () => {
  await put("buffer", small, { Metadata: { note: "n 1" } });
  fs.writeFileSync("content.bin", small);
  // A stream goes framed, with a checksum behind it, also in clear text.
  await put("stream", fs.createReadStream("content.bin"), { ContentLength: small.length });
  for (const ChecksumAlgorithm of ["CRC32C", "SHA1", "SHA256", "CRC64NVME"]) {
    await put(ChecksumAlgorithm, fs.createReadStream("content.bin"), { ContentLength: small.length, ChecksumAlgorithm }).catch((error) => {
      // Needs a package of its own.
      if (!`${error}`.includes("CRC64NVME")) throw error;
    });
  }
});
await step("get", async () => {
  same(await read("buffer"), small);
  same(await read("stream"), small);
  same(await read("SHA256"), small);
  same(await read("buffer", { Range: "bytes=100-199" }), small.subarray(100, 200));
  equal((await s3.send(new HeadObjectCommand({ Bucket, Key: prefix + "buffer" }))).Metadata, { note: "n 1" });
});
await step("list", async () => equal((await names()).slice(-2), ["buffer", "stream"]));
await step("delete", async () => {
  await s3.send(new DeleteObjectCommand({ Bucket, Key: prefix + "buffer" }));
  const Objects = (await names()).map((name) => ({ Key: prefix + name }));
  equal((await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }))).Errors ?? [], []);
  equal(await names(), []);
});
await step("multipart", async () => {
  const pieces = function* () {
    for (let i = 0; i < large.length; i += 65_536) yield large.subarray(i, i + 65_536);
  };
  await new Upload({ client: s3, params: { Bucket, Key: prefix + "large", Body: Readable.from(pieces()) } }).done();
  same(await read("large"), large);
});
await step("odd keys", async () => {
  for (const key of ODD) {
    await put("odd/" + key, Buffer.from(key));
    same(await read("odd/" + key), Buffer.from(key), key);
  }
  equal(await names("odd/"), ODD.map((key) => "odd/" + key).sort());
});
await step("presign", async () => {
  const Key = prefix + "presigned a+ü";
  await fetched(await getSignedUrl(plain, new PutObjectCommand({ Bucket, Key })), { method: "PUT", body: small });
  same(await fetched(await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key }))), small);
});
if (forbidden) {
  await step("refusal", async () => {
    const begun = Date.now();
    const told = await s3.send(new PutObjectCommand({ Bucket, Key: forbidden, Body: small })).then(() => "nothing was refused", (error) => `${error.name}: ${error.message}`);
    report.told = told;
    if (!told.includes("AccessDenied")) throw new Error(`the user is told: ${told}`);
    if (Date.now() - begun > PATIENCE_MS) throw new Error(`the user waits ${Date.now() - begun} ms for: ${told}`);
  });
}
console.log(JSON.stringify(report));
