// A page in Chromium, of another origin than the gateway: uploads by URLs signed in advance and by POST forms, reads, lists, deletes,
// and what it can read of a refusal. What a page does is done in the page; the URLs and the policies are signed here, as a server of
// the page's would. See world.py for what this is told.

import { randomBytes } from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const tool = createRequire(path.join(process.env.TOOLS, "package.json"));
const s3 = tool("@aws-sdk/client-s3");
const { getSignedUrl } = tool("@aws-sdk/s3-request-presigner");
const { createPresignedPost } = tool("@aws-sdk/s3-presigned-post");
const { chromium } = tool("playwright-core");

const { S3_ENDPOINT: endpoint, S3_BUCKET: Bucket, S3_PREFIX: prefix, S3_FORBIDDEN: forbidden, AWS_REGION: region } = process.env;
const ODD = ["with blank", "+plus+", "100%", "~!'()", "@:$,;=&", "ü/日本", "h#f"];
const PART_BYTES = 5 << 20;
const client = new s3.S3Client({ endpoint, region, forcePathStyle: true, requestChecksumCalculation: "WHEN_REQUIRED" });
const report = { client: "Chromium", version: "", steps: {} };

async function step(name, work) {
  try {
    await work();
    report.steps[name] = "ok";
  } catch (error) {
    console.error(name, error);
    report.steps[name] = `${error}`.slice(0, 1000);
  }
}

function equal(got, wanted) {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) throw new Error(`${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
}

// The page, under two names: only one of them is listed in `cors`.
const site = http.createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>page</title><body></body>"));
await new Promise((ready) => site.listen(0, "127.0.0.1", ready));
const listed = `http://localhost:${site.address().port}`;
const stranger = `http://127.0.0.1:${site.address().port}`;

const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"];
// The authority is one of the test, which Chromium would have to be taught with tools of its own.
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: [...quiet, "--ignore-certificate-errors"] });
report.version = browser.version();
const page = await browser.newPage();
await page.goto(listed);

const url = (command, more = {}) => getSignedUrl(client, command, { expiresIn: 300, ...more });
const putUrl = (key, more) => url(new s3.PutObjectCommand({ Bucket, Key: prefix + key, ...more }));
const getUrl = (key) => url(new s3.GetObjectCommand({ Bucket, Key: prefix + key }));

// One request in the page. What comes back is what its script can see; the body as base64, since it may be anything.
const ask = (where, href, init = {}) =>
  where.evaluate(
    async ([href, { body, form, file, ...init }]) => {
      const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      if (form) {
        init.body = new FormData();
        for (const [name, value] of Object.entries(form)) init.body.append(name, value);
        init.body.append("file", new Blob([bytes(file)], { type: "image/x-test" }), "a file.bin");
      } else if (body !== undefined) {
        init.body = bytes(body);
      }
      try {
        // A browser may answer a GET from its cache for a tenth of the object's age; the question here is what the gateway says. Not for
        // uploads: it would send `cache-control`, a property of the object that nobody signed.
        const answer = await fetch(href, init.method ? init : { cache: "no-store", ...init });
        const got = new Uint8Array(await answer.arrayBuffer());
        let text = "";
        for (let i = 0; i < got.length; i += 32768) text += String.fromCharCode(...got.subarray(i, i + 32768));
        return { status: answer.status, etag: answer.headers.get("etag"), id: answer.headers.get("x-amz-request-id"), body: btoa(text) };
      } catch (error) {
        return { error: `${error}` };
      }
    },
    [href, init],
  );
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const text = (answer) => Buffer.from(answer.body ?? "", "base64").toString();
const element = (answer, name) => text(answer).match(`<${name}>([^<]*)</${name}>`)?.[1];
function good(answer, status = 200) {
  if (answer.status !== status) throw new Error(`${status} expected: ${JSON.stringify(answer).slice(0, 300)} ${text(answer).slice(0, 300)}`);
  return answer;
}

const small = randomBytes(70_001);

await step("put", async () => {
  const put = good(await ask(page, await putUrl("put"), { method: "PUT", body: base64(small), headers: { "content-type": "image/x-test" } }));
  if (!put.etag || !put.id) throw new Error(`the page cannot read ETag and request id: ${JSON.stringify(put)}`);
});
await step("get", async () => equal(good(await ask(page, await getUrl("put"))).body, base64(small)));
await step("list", async () => {
  const answer = good(await ask(page, await url(new s3.ListObjectsV2Command({ Bucket, Prefix: prefix }))));
  equal([...text(answer).matchAll(/<Key>([^<]*)<\/Key>/g)].map((found) => found[1]), [prefix + "put"]);
});
await step("delete", async () => {
  good(await ask(page, await url(new s3.DeleteObjectCommand({ Bucket, Key: prefix + "put" })), { method: "DELETE" }), 204);
  equal(element(good(await ask(page, await getUrl("put")), 404), "Code"), "NoSuchKey");
});
await step("multipart", async () => {
  const parts = [randomBytes(PART_BYTES), randomBytes(PART_BYTES), small];
  const upload = { Bucket, Key: prefix + "large" };
  const { UploadId } = await client.send(new s3.CreateMultipartUploadCommand(upload));
  const sent = await Promise.all(
    parts.map(async (part, n) => {
      const href = await url(new s3.UploadPartCommand({ ...upload, UploadId, PartNumber: n + 1 }));
      return { PartNumber: n + 1, ETag: good(await ask(page, href, { method: "PUT", body: base64(part) })).etag };
    }),
  );
  await client.send(new s3.CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload: { Parts: sent } }));
  equal(good(await ask(page, await getUrl("large"))).body, base64(Buffer.concat(parts)));
});
await step("odd keys", async () => {
  for (const key of ODD) {
    good(await ask(page, await putUrl("odd/" + key), { method: "PUT", body: base64(Buffer.from(key)) }));
    equal(text(good(await ask(page, await getUrl("odd/" + key)))), key);
  }
});
await step("presign", async () => {
  // What the URL says of the upload holds: another type than the signed one is refused, and the page can read why.
  const href = await url(new s3.PutObjectCommand({ Bucket, Key: prefix + "typed", ContentType: "image/png" }), { signableHeaders: new Set(["content-type"]) });
  good(await ask(page, href, { method: "PUT", body: base64(small), headers: { "content-type": "image/png" } }));
  const other = good(await ask(page, href, { method: "PUT", body: base64(small), headers: { "content-type": "text/plain" } }), 403);
  equal(element(other, "Code"), "SignatureDoesNotMatch");
});

const policy = (key, more = {}) =>
  createPresignedPost(client, { Bucket, Key: key, Conditions: [["content-length-range", 1, 100_000], ["starts-with", "$Content-Type", "image/"]], Expires: 300, ...more });
await step("form", async () => {
  const form = await policy(prefix + "form/${filename}", { Fields: { "Content-Type": "image/x-test", success_action_status: "201" } });
  const posted = good(await ask(page, form.url, { method: "POST", form: form.fields, file: base64(small) }), 201);
  equal(element(posted, "Key"), prefix + "form/a file.bin");
  equal(good(await ask(page, await getUrl("form/a file.bin"))).body, base64(small));
  const large = good(await ask(page, form.url, { method: "POST", form: form.fields, file: base64(randomBytes(100_001)) }), 400);
  equal(element(large, "Code"), "EntityTooLarge");
  equal(good(await ask(page, await getUrl("form/a file.bin"))).body, base64(small));

  // A form that is sent without a script, and where the browser goes then.
  const sent = await policy(prefix + "sent", { Fields: { "Content-Type": "image/x-test", success_action_redirect: `${listed}/done` } });
  await page.setContent(
    `<form method=post enctype=multipart/form-data action="${sent.url}">` +
      Object.entries(sent.fields).map(([name, value]) => `<input name="${name}" value="${value}">`).join("") +
      "<input type=file name=file><button>send</button></form>",
  );
  await page.setInputFiles("input[type=file]", { name: "one.bin", mimeType: "image/x-test", buffer: small });
  await Promise.all([page.waitForURL(`${listed}/done?*`, { timeout: 20_000 }), page.click("button")]);
  equal(new URL(page.url()).searchParams.get("key"), prefix + "sent");
  equal(good(await ask(page, await getUrl("sent"))).body, base64(small));
});
await step("refusal", async () => {
  const refused = good(await ask(page, await url(new s3.PutObjectCommand({ Bucket, Key: forbidden })), { method: "PUT", body: base64(small) }), 403);
  report.told = `${element(refused, "Code")}: ${element(refused, "Message")}`;
  equal(element(refused, "Code"), "AccessDenied");
  equal(element(refused, "RequestId"), refused.id);
  const form = await policy(forbidden, { Fields: { "Content-Type": "image/x-test" } });
  equal(element(good(await ask(page, form.url, { method: "POST", form: form.fields, file: base64(small) }), 403), "Code"), "AccessDenied");
});
await step("origin", async () => {
  const other = await browser.newPage();
  await other.goto(stranger);
  const blocked = await ask(other, await getUrl("large"));
  if (!blocked.error) throw new Error(`a page that nobody listed reads ${blocked.status}`);
});
await browser.close();
site.close();
console.log(JSON.stringify(report));
