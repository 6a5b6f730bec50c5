// The operator's page in Chromium: what an operator does with it, by mouse, by keyboard and on a phone, and what it must never do.
// Prints each step with `ok` or what went wrong; pictures of the page go to ARTEFACTS. See tests/it/console.rs for what this is told.

import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const tool = createRequire(path.join(process.env.TOOLS, "package.json"));
const { chromium } = tool("playwright-core");
const { PAGE: home, GATEWAY: gateway, CLIENT_TOKEN: clientToken, BESIDE: beside, SOCKET: socketPath, PROTECTED: guarded, OPERATOR_TOKEN: operatorToken, ARTEFACTS: artefacts } = process.env;

const steps = {};
async function step(name, work) {
  try {
    await work();
    steps[name] = "ok";
  } catch (error) {
    console.error(name, error);
    steps[name] = `${error}`.slice(0, 1500);
  }
}
function must(holds, what) {
  if (!holds) throw new Error(what);
}

const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: quiet });

// Whatever a page complains of, and whom it talks to.
const complaints = [];
const asked = new Set();
async function open(url, options = {}, allowed = [], prepare = async () => {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !allowed.some((part) => message.text().includes(part))) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`thrown: ${error.stack}`));
  page.on("request", (request) => asked.add(new URL(request.url()).protocol === "data:" ? "data:" : new URL(request.url()).origin));
  await page.addInitScript(() => {
    window.violations = [];
    window.touched = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await prepare(page);
  await page.goto(url);
  return page;
}
const picture = (page, name, fullPage = true) => page.screenshot({ path: path.join(artefacts, `operators-page-${name}.png`), fullPage });
const put = (key, body) => fetch(`${gateway}/bkt/${key}`, { method: "PUT", body, headers: { authorization: `Bearer ${clientToken}` } });
const overSocket = (target) => new Promise((ended, failed) => http.get({ socketPath, path: target }, (answer) => answer.resume().on("end", () => ended(answer.statusCode))).on("error", failed));
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.textContent.trim().slice(0, 40));
const rows = (page) => page.locator("#records tbody tr");
const fits = async (page) => {
  const [scroll, width] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  must(scroll <= width, `the page is ${scroll} px wide in ${width} px`);
};

const page = await open(home);

await step("health, traffic and what was before", async () => {
  await page.getByText("● ready").waitFor();
  await rows(page).nth(4).waitFor();
  must((await page.locator("#tiles .tile").count()) === 4, "four tiles");
  await page.locator("#refusals-body").getByText("EntityTooLarge").waitFor();
  await page.locator("#verdicts-body").getByText("matched").waitFor();
  await page.locator("#upstreams-body").getByText("well").waitFor();
  await page.locator("#inspectors-body").getByText("words").waitFor();
});

await step("a refusal appears with its reason and its rule", async () => {
  const answer = await put("a/small/live", Buffer.alloc(3000));
  must(answer.status === 400, `${answer.status}`);
  const row = rows(page).filter({ hasText: "bkt/a/small/live" });
  await row.waitFor();
  const text = await row.innerText();
  for (const part of ["refused", "PutObject", "token:a", "small-ones", "EntityTooLarge"]) must(text.includes(part), `${part} in ${text}`);
});

await step("a key that is markup stays text", async () => {
  const evil = `<img src=x onerror="window.touched.push('key')"><script>window.touched.push('script')</script>`;
  await put(`a/small/${encodeURIComponent(evil)}`, Buffer.alloc(3000));
  const row = rows(page).filter({ hasText: "onerror" });
  await row.waitFor();
  await row.locator("button.open").click();
  await page.locator("#detail").getByText("onerror").first().waitFor();
  await page.locator("#detail-explain").click();
  await page.locator("#answer").getByText("ALLOWED by the rule `small-ones`").waitFor();
  await page.locator("#filter").fill("<img");
  await row.waitFor();
  await page.locator("#filter").fill("");
  must((await page.locator("main img, main script, dialog img").count()) === 0, "it became an element");
  must((await page.evaluate(() => window.touched.length)) === 0, "it ran");
});

await step("details say why, and lead to the explanation", async () => {
  await rows(page).filter({ hasText: "bkt/a/small/live" }).locator("button.open").click();
  const why = await page.locator("#detail-why").innerText();
  for (const part of ["EntityTooLarge", "small-ones", "Refused"]) must(why.includes(part), why);
  await picture(page, "detail", false);
  await page.locator("#detail-explain").click();
  await page.locator("#answer .notice").waitFor();
  must((await page.locator("#q-on").inputValue()) === "bkt/a/small/live", "the question is filled in");
  await page.locator("#answer pre", { hasText: "request: PutObject on bkt/a/small/live" }).waitFor();
  await page.locator("#answer").getByText("ALLOWED by the rule `small-ones`").waitFor();
  await page.locator("#answer").getByText("Asked without what a record does not hold: size").waitFor();
  await page.locator("#q-size").fill("3KiB");
  await page.locator("#question button[type=submit]").click();
  await page.locator("#answer strong", { hasText: /^DENIED: .*EntityTooLarge/ }).waitFor();
  must((await page.locator("#answer").getByText("Asked without").count()) === 0, "a question of the operator's own");
});

await step("requests of an application beside the gateway are explained as they ended", async () => {
  must((await fetch(`${beside}/bkt/orders/x`)).status === 200, "read over an address");
  must((await overSocket("/bkt/others/x")) === 403, "refused over a socket");
  for (const [key, who, answer] of [["bkt/orders/x", "listener:orders", "ALLOWED by the rule `beside`"], ["bkt/others/x", "listener:job", "DENIED: no rule allows s3:GetObject"]]) {
    await rows(page).filter({ hasText: key }).locator("button.open").click();
    await page.locator("#detail-explain").click();
    await page.locator("#answer").getByText(answer).waitFor();
    must((await page.locator("#q-as").inputValue()) === who, who);
  }
});

await step("every record leads to its question, or to none", async () => {
  const principals = [
    ["app_token", "token:a", "token:a"], ["access_key", "key:a", "key:a"], ["listener", "listener:orders", "listener:orders"],
    ["certificate", "certificate:etl", "certificate:etl"], ["certificate", "spiffe://example.org/ns/shop/sa/orders", "spiffe://example.org/ns/shop/sa/orders"],
    ["jwt", "corp:alice", "issuer:corp:alice"], ["session", "corp:alice", "issuer:corp:alice"],
  ];
  const from = "192.0.2.7";
  const cases = [
    ...principals.map(([scheme, principal, as]) => [{ scheme, principal }, { as, do: "GetObject", from }]),
    [{ client: "unix" }, { as: "token:a", do: "GetObject" }],
    [{ operation: "PostObject" }, { as: "token:a", do: "PutObject", from }],
    [{ operation: "CopyObject", source: "bkt/y?versionId=3" }, { as: "token:a", do: "CopyObject", from, source: "bkt/y" }],
    ...["Preflight", "AssumeRoleWithWebIdentity", "GetCallerIdentity", null].map((operation) => [{ operation }, null]),
  ];
  const usual = { time: "2026-11-22T06:45:56.883Z", client: from, method: "GET", scheme: "app_token", principal: "token:a", operation: "GetObject", bucket: "bkt", outcome: "ok", status: 200, duration_ms: 1 };
  const stream = cases.map(([more], number) => `data: ${JSON.stringify({ ...usual, key: `case-${number}-`, ...more })}\n\n`).join("");
  let told = false, question;
  const where = await open(home, {}, [], async (page) => {
    await page.route("**/api/events", (route) => (told ? undefined : ((told = true), route.fulfill({ contentType: "text/event-stream", body: stream }))));
    await page.route("**/api/explain", (route) => ((question = route.request().postDataJSON()), route.fulfill({ json: { text: `ALLOWED ${question.on}`, report: { decision: "allowed" } } })));
  });
  for (const [number, [more, wanted]] of cases.entries()) {
    await rows(where).filter({ hasText: `case-${number}-` }).locator("button.open").click();
    const what = JSON.stringify(more);
    if (wanted === null) {
      must(!(await where.locator("#detail-explain").isVisible()), `${what} is offered`);
      await where.locator("#detail-close").click();
      continue;
    }
    await where.locator("#detail-explain").click();
    await where.locator("#answer strong", { hasText: `case-${number}-` }).waitFor();
    const { on, ...rest } = question;
    must(on === `bkt/case-${number}-`, `${what}: ${on}`);
    must(JSON.stringify(rest) === JSON.stringify(wanted), `${what}: ${JSON.stringify(rest)}`);
    const note = await where.locator("#answer").getByText("Asked without").innerText();
    must(note.includes("attributes") === ["jwt", "session"].includes(more.scheme), `${what}: ${note}`);
  }
  await where.context().close();
});

await step("the explain form answers", async () => {
  await page.locator("#q-as").fill("token:b");
  await page.locator("#q-do").fill("GetObject");
  await page.locator("#q-on").fill("bkt/a/open/x");
  await page.locator("#question button[type=submit]").click();
  await page.locator("#answer").getByText("DENIED").waitFor();
  await page.locator("#q-as").fill("token:nobody");
  await page.locator("#question button[type=submit]").click();
  await page.locator("#answer").getByText("there is no token `nobody`").waitFor();
});

await step("filters and pause", async () => {
  await page.locator("#filter").fill("virus");
  must((await rows(page).count()) === 1, "one row for the virus");
  await page.locator("#filter").fill("");
  await page.locator("#refused-only").check();
  must(!(await page.locator("#records").innerText()).includes("a/open/fine"), "only refusals");
  await page.locator("#refused-only").uncheck();
  await page.locator("#pause").click();
  const before = await rows(page).count();
  await put("a/open/paused", "x");
  await page.locator("#shown").getByText("waiting").waitFor();
  must((await rows(page).count()) === before, "nothing moves while paused");
  await page.locator("#pause").click();
  await rows(page).filter({ hasText: "a/open/paused" }).waitFor();
});

await step("the configuration can be searched and is without secrets", async () => {
  await page.locator("#search").fill("small-ones");
  await page.locator("#hits").getByText("1 line").waitFor();
  must((await page.locator("#text mark").innerText()) === "small-ones", "marked");
  await page.locator("#search").fill("");
  must(!(await page.locator("#text").innerText()).includes("env:"), "a reference to a secret is shown");
});

await step("reload says what came of it", async () => {
  await page.locator("#reload").click();
  await page.locator("#reloaded .notice").waitFor();
  // A browser reports every answer that is an error by itself.
  complaints.splice(0, complaints.length, ...complaints.filter((text) => !/status of 4(00|09)/.test(text)));
});

await step("everything is reached by the Tab key, and Enter works", async () => {
  await page.goto(home);
  await rows(page).first().waitFor();
  await page.locator("#text .line").first().waitFor();
  const wanted = ["skip", "pause", "refused-only", "filter", "open mono", "q-as", "q-do", "q-on", "reload", "search", "text"];
  const seen = [];
  await page.locator("body").press("Tab");
  for (let i = 0; i < 60 && wanted.some((name) => !seen.includes(name)); i++) {
    seen.push(await focused(page));
    const outline = await page.evaluate(() => { const style = getComputedStyle(document.activeElement); return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2; });
    must(outline || seen.at(-1) === "skip", `the focus on ${seen.at(-1)} is not seen`);
    await page.keyboard.press("Tab");
  }
  const unreached = wanted.filter((name) => !seen.includes(name));
  must(unreached.length === 0, `not reached: ${unreached}; seen: ${seen}`);
  must(seen.filter((name) => name === "open mono").length === 1, "the list is one stop");
  await page.locator("#records button.open[tabindex='0']").focus();
  await page.keyboard.press("ArrowDown");
  must(await page.evaluate(() => document.activeElement === document.querySelectorAll("#records button.open")[1]), "arrow down");
  await page.keyboard.press("Enter");
  await page.locator("#detail[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#detail[open]").waitFor({ state: "detached" }).catch(() => {});
  must(!(await page.locator("#detail").isVisible()), "Escape closes");
  must(await page.evaluate(() => document.activeElement.classList.contains("open")), "the focus is back");
  await page.locator("#q-as").fill("token:a");
  await page.locator("#q-do").fill("PutObject");
  await page.locator("#q-on").fill("bkt/a/open/x");
  await page.locator("#q-on").press("Enter");
  await page.locator("#answer .notice").getByText("ALLOWED").waitFor();
});

await step("every control has a name, every table a caption", async () => {
  const nameless = await page.evaluate(() => {
    const named = (each) => each.textContent.trim() || each.getAttribute("aria-label") || [...(each.labels ?? [])].some((label) => label.textContent.trim());
    return [...document.querySelectorAll("button, input, textarea, a, summary")].filter((each) => !named(each)).map((each) => each.outerHTML);
  });
  must(nameless.length === 0, nameless.join());
  must(await page.evaluate(() => [...document.querySelectorAll("table")].every((table) => table.caption)), "a table without caption");
  must(await page.evaluate(() => document.querySelectorAll("main").length === 1 && document.querySelectorAll("h1").length === 1 && [...document.querySelectorAll("main > section")].every((each) => document.getElementById(each.getAttribute("aria-labelledby")))), "landmarks");
});

// Contrast of every visible text against what is behind it, as WCAG 2 computes it.
const contrast = (where) =>
  where.evaluate(() => {
    const parse = (text) => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (each) => {
      for (let node = each; node; node = node.parentElement) {
        const color = parse(getComputedStyle(node).backgroundColor);
        if (color.length < 4 || color[3] > 0.99) return color;
      }
      return [255, 255, 255];
    };
    const poor = [];
    for (const each of document.querySelectorAll("body *")) {
      const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!own || !each.checkVisibility() || each.closest(".unseen, .skip, script, style, datalist")) continue;
      const [a, b] = [light(parse(getComputedStyle(each).color)), light(behind(each))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${each.tagName} ${each.className} ${each.textContent.trim().slice(0, 30)}`);
    }
    return poor;
  });

for (const [name, size] of [["desktop", { width: 1280, height: 900 }], ["phone", { width: 375, height: 720 }]]) {
  for (const colorScheme of ["light", "dark"]) {
    await step(`${name}, ${colorScheme}`, async () => {
      const where = await open(home, { viewport: size, colorScheme });
      await rows(where).nth(4).waitFor();
      await where.locator("#text .line").nth(5).waitFor();
      await where.locator("#upstreams-body td").first().waitFor();
      await where.locator("#refusals-body td").first().waitFor();
      await where.locator("#q-as").fill("token:a");
      await where.locator("#q-do").fill("PutObject");
      await where.locator("#q-on").fill("bkt/a/locked/x");
      await where.locator("#question button[type=submit]").click();
      await where.locator("#answer pre").waitFor();
      await fits(where);
      const poor = await contrast(where);
      must(poor.length === 0, `poor contrast: ${poor.join("; ")}`);
      await where.evaluate(() => window.scrollTo(0, 0));
      await picture(where, `${name}-${colorScheme}`);
      const violations = await where.evaluate(() => window.violations);
      must(violations.length === 0, `the policy was violated: ${violations}`);
      await where.context().close();
    });
  }
}

await step("a token opens a protected page, and a wrong one does not", async () => {
  const where = await open(guarded, {}, ["status of 401"]);
  await where.locator("#sign-in[open]").waitFor();
  await picture(where, "sign-in", false);
  await where.locator("#token").fill("csn_wrong");
  await where.keyboard.press("Enter");
  await where.locator("#sign-in-problem").getByText("not a token").waitFor();
  await where.locator("#token").fill(operatorToken);
  await where.keyboard.press("Enter");
  await where.getByText("● ready").waitFor();
  await where.locator("#stream").getByText("live").waitFor();
  await where.locator("#foot").getByText("You are token:ops").waitFor();
  must(!where.url().includes("csn_") && (await where.context().cookies()).length === 0, "the token is in the URL or in a cookie");
  await where.reload();
  await where.getByText("● ready").waitFor();
  await where.locator("#forget").click();
  await where.locator("#sign-in[open]").waitFor();
  await where.context().close();
});

await step("a page of another site gets nothing", async () => {
  const site = http.createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>other</title><body></body>"));
  await new Promise((ready) => site.listen(0, "127.0.0.1", ready));
  const context = await browser.newContext();
  const where = await context.newPage();
  await where.goto(`http://localhost:${site.address().port}`);
  const tries = await where.evaluate(async (other) => {
    const own = { "content-type": "application/json", "x-countersign-console": "1" };
    const said = [];
    for (const init of [{}, { mode: "no-cors" }, { method: "POST", mode: "no-cors", body: "{}" }, { method: "POST", headers: own, body: "{}" }]) {
      for (const path of ["/api/status", "/api/reload", "/metrics"]) {
        try { said.push(`${path} ${(await fetch(other + path, init)).type}`); } catch { said.push("blocked"); }
      }
    }
    const frame = document.createElement("iframe");
    const loaded = new Promise((later) => { frame.onload = later; setTimeout(later, 5000); });
    frame.src = other;
    document.body.append(frame);
    await loaded;
    return said;
  }, home);
  must(tries.every((each) => each === "blocked"), `${tries}`);
  const framed = where.frames()[1];
  must(!framed || (await framed.locator("#health").count()) === 0, "the page can be framed");
  const metrics = await (await fetch(`${home}/metrics`)).text();
  must(Number(metrics.match(/countersign_admin_refused_total\{reason="cross_site"\} (\d+)/)?.[1]) >= 6, "the listener refused nothing");
  await context.close();
  site.close();
});

await step("no complaint, no violation, nobody else was asked", async () => {
  must(complaints.length === 0, complaints.join("\n"));
  const violations = await page.evaluate(() => window.violations);
  must(violations.length === 0, `${violations}`);
  const others = [...asked].filter((origin) => ![home, guarded, "data:"].includes(origin));
  must(others.length === 0, `${others}`);
});

await browser.close();
console.log(JSON.stringify(steps));
