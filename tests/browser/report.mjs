// Opens reports in Debian's Chromium as a reader would: finds, chooses, sorts, turns pages, moves the slider, changes colours and theme, walks
// from item to item by the keyboard. Fails on an error in the console, on a serious finding of axe-core, and on a page that opens too slowly.
//
//   node tests/browser/report.mjs OUT/report.html …              what follows holds for every report
//   node tests/browser/report.mjs --pictures FOLDER OUT/report.html …   also leaves pictures of it: two themes, two widths
//
// README.md beside this file says what it needs.

import { mkdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import axe from "axe-core";
import { chromium } from "playwright-core";

// What a report with thousands of items may take.
const MOST_BYTES = 60e6;
const MOST_SECONDS = 3;
// Findings of these impacts keep somebody from reading the page.
const SERIOUS = ["serious", "critical"];

const errors = [];
const must = (holds, what) => {
  if (!holds) throw new Error(what);
};

/** Axe-core's findings that keep somebody from reading `page`. */
async function findings(page, where) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations
    .filter((v) => SERIOUS.includes(v.impact))
    .map((v) => `${where}: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
}

const rows = (page) => page.locator("#items tbody tr:not([hidden])");
const ids = async (page) => (await rows(page).locator("th a").allTextContents()).map((t) => t.trim());

async function sheet(page) {
  const first = await ids(page);
  must(first.length > 0, "no item is shown");
  must((await page.locator("#items tbody tr:not([hidden]) image[href^='data:image']").count()) > 0, "no picture is shown");

  await page.locator("#find").fill(first[0]);
  must((await ids(page)).every((id, n) => n > 0 || id.includes(first[0])), "finding an item does not find it");
  await page.locator("#find").fill("no item is called so");
  must((await rows(page).count()) === 0, "finding nothing leaves items");
  await page.locator("#find").fill("");

  const head = page.locator("#items thead th").first();
  await head.locator("button").click();
  must((await head.getAttribute("aria-sort")) === "ascending", "sorting says nothing of itself");
  const up = await page.evaluate(() => [...document.querySelectorAll("#items tbody tr")].map((r) => r.cells[0].querySelector("a").textContent));
  await head.locator("button").focus();
  await page.keyboard.press("Enter");
  const down = await page.evaluate(() => [...document.querySelectorAll("#items tbody tr")].map((r) => r.cells[0].querySelector("a").textContent));
  must(up.length < 2 || up.join() === [...down].reverse().join(), "sorting twice does not turn the order round");

  for (const option of await page.locator("#choose option").evaluateAll((all) => all.map((o) => o.value))) {
    await page.locator("#choose").selectOption(option);
    if (option.includes(" ")) must((await rows(page).count()) > 0, `no item is a ${option}`);
  }
  await page.locator("#choose").selectOption("");

  await page.locator("#per-page").selectOption("10");
  const before = await ids(page);
  must(before.length <= 10, "more items than a page has");
  if (await page.locator("#next").isEnabled()) {
    await page.locator("#next").click();
    must((await ids(page)).join() !== before.join(), "the next page is the same");
    await page.locator("#previous").click();
    must((await ids(page)).join() === before.join(), "the page before is another");
  }
}

async function maps(page) {
  const opacity = () => page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--opacity").trim());
  const slider = page.locator("#opacity");
  const was = await opacity();
  await slider.focus();
  await page.keyboard.press("ArrowRight");
  must((await opacity()) !== was, "the slider does not move the opacity");
  await page.keyboard.press("ArrowLeft");
  const table = () => page.evaluate(() => document.querySelector("#over feFuncR").getAttribute("tableValues"));
  const viridis = await table();
  const chosen = await page.locator("#colours").inputValue();
  await page.locator("#colours").selectOption("jet");
  must((await table()) !== viridis, "choosing colours changes none");
  await page.locator("#colours").selectOption(chosen);
  await page.locator("#fade").check();
  must((await page.evaluate(() => document.querySelector("#over feFuncA").getAttribute("tableValues"))) === "0 1", "low values stay");
  await page.locator("#fade").uncheck();
}

async function view(page) {
  const many = (await page.locator("#items tbody tr").count()) > 1;
  const link = rows(page).first().locator("th a");
  const id = (await link.textContent()).trim();
  await link.focus();
  await page.keyboard.press("Enter");
  const title = () => page.locator("#view h2").textContent();
  await page.locator("#view h2").waitFor();
  must((await title()) === id, `the view of ${id} is that of another item`);
  must(!(await page.locator("#whole").isVisible()), "the sheet is still there");
  if (many) {
    await page.keyboard.press("ArrowRight");
    await page.waitForFunction((old) => document.querySelector("#view h2")?.textContent !== old, id);
    await page.keyboard.press("ArrowLeft");
    await page.waitForFunction((old) => document.querySelector("#view h2")?.textContent === old, id);
  }
  const serious = await findings(page, "an item");
  await page.keyboard.press("Escape");
  await page.locator("#items").waitFor();
  must((await page.evaluate(() => document.activeElement?.textContent?.trim())) === id, "going back loses the place");
  return serious;
}

async function pictures(browser, url, folder, name) {
  for (const [theme, width] of [["light", 1400], ["dark", 1400], ["light", 420], ["dark", 420]]) {
    const context = await browser.newContext({ colorScheme: theme, viewport: { width, height: 1000 } });
    const page = await context.newPage();
    await page.goto(url);
    await page.screenshot({ path: join(folder, `${name}-sheet-${theme}-${width}.png`), fullPage: true });
    await rows(page).first().locator("th a").click();
    await page.locator("#view h2").waitFor();
    await page.screenshot({ path: join(folder, `${name}-item-${theme}-${width}.png`), fullPage: true });
    await context.close();
  }
}

async function check(browser, file) {
  const url = pathToFileURL(resolve(file)).href;
  const bytes = statSync(file).size;
  must(bytes < MOST_BYTES, `${file} has ${bytes} bytes`);
  // The page's own policy would keep axe-core out, which is put in from here.
  const context = await browser.newContext({ bypassCSP: true, viewport: { width: 1400, height: 1000 } });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && errors.push(`${file}: ${message.text()}`));
  page.on("pageerror", (error) => errors.push(`${file}: ${error}`));
  page.on("dialog", (dialog) => errors.push(`${file}: a dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (!/^(data|file):/.test(request.url())) errors.push(`${file}: it asks the network for ${request.url()}`);
  });
  // Counted in the time that the page's own thread works: a machine that builds beside it is slow for another reason.
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const clock = performance.now();
  await page.goto(url);
  await rows(page).first().waitFor();
  const waited = (performance.now() - clock) / 1000;
  const { metrics } = await session.send("Performance.getMetrics");
  const seconds = metrics.find((m) => m.name === "TaskDuration").value;
  const items = await page.locator("#items tbody tr").count();
  console.log(`${file}: ${items} items, ${(bytes / 1e6).toFixed(1)} MB, opened in ${waited.toFixed(2)} s, of which it works ${seconds.toFixed(2)} s`);
  must(seconds < MOST_SECONDS, `${file} works ${seconds.toFixed(2)} s until it is there`);

  await sheet(page);
  await maps(page);
  const serious = await findings(page, "the sheet");
  serious.push(...(await view(page)));
  for (const theme of ["dark", "light"]) {
    await page.locator("#theme").selectOption(theme);
    serious.push(...(await findings(page, theme)));
  }
  must(serious.length === 0, `axe-core finds:\n${serious.join("\n")}`);
  const paper = await page.pdf({ format: "A4" });
  must(paper.length > 1000, "it does not print");
  await context.close();

  // As the page is delivered, with its own policy: nothing it forbids is tried.
  const strict = await browser.newContext();
  const own = await strict.newPage();
  own.on("console", (message) => message.type() === "error" && errors.push(`${file}: under its policy: ${message.text()}`));
  await own.goto(url);
  await rows(own).first().waitFor();
  await rows(own).first().locator("th a").click();
  await own.locator("#view h2").waitFor();
  await strict.close();
}

const files = process.argv.slice(2);
const folder = files[0] === "--pictures" ? files.splice(0, 2)[1] : null;
must(files.length > 0, "name reports: node tests/browser/report.mjs OUT/report.html …");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  for (const file of files) {
    await check(browser, file);
    if (folder) {
      mkdirSync(folder, { recursive: true });
      await pictures(browser, pathToFileURL(resolve(file)).href, folder, basename(dirname(resolve(file))));
    }
  }
  must(errors.length === 0, errors.join("\n"));
} finally {
  await browser.close();
}
console.log("every report opens, and does what it offers");
