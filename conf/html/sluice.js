/*
 * The summary under the form, asked for every two seconds while somebody
 * looks.  What it shows came from strangers: it is set as text, never as
 * markup.
 */
"use strict";

(function () {
    const EVERY_MS = 2000;
    const STEP = 100;               /* rows a page, and added by "more" */
    const MAX = 1000;

    const listing = document.getElementById("listing");
    const more = document.getElementById("more");
    const rows = document.getElementById("rows");
    const status = document.getElementById("status");

    let limit = STEP;
    let shown = "";                 /* the answer that is on the page */
    let timer = 0;
    let asking = false;

    function cell(row, label, text, number) {
        const td = row.insertCell();

        td.textContent = text;
        td.dataset.label = label;
        if (number) {
            td.className = "number";
        }
        return td;
    }

    function size(bytes) {
        if (bytes < 1000) {
            return bytes + " B";
        }
        if (bytes < 1000000) {
            return (bytes / 1000).toFixed(1) + " kB";
        }
        return (bytes / 1000000).toFixed(1) + " MB";
    }

    function local(cell, text) {
        const time = document.createElement("time");

        time.dateTime = text;
        time.textContent = new Date(text).toLocaleString();
        cell.replaceChildren(time);
    }

    function show(summary) {
        const body = document.createElement("tbody");

        for (const file of summary.files) {
            const row = body.insertRow();

            cell(row, "File", file.file || "(no name)");
            cell(row, "Count", String(file.count), true);
            cell(row, "Size", size(file.size), true);
            cell(row, "Type", file.type);
            local(cell(row, "First seen", ""), file.time);
            cell(row, "Window", (file.final ? "closed" : "open, counting")
                + (file.incomplete ? ", uploads are missing" : ""));
        }

        rows.replaceChildren(...body.rows);
        listing.hidden = summary.files.length === 0;
        more.hidden = summary.next === null || limit >= MAX;
    }

    /* Set only when it changes: it is read aloud each time. */
    function say(text) {
        if (status.textContent !== text) {
            status.textContent = text;
        }
        status.hidden = text === "";
    }

    async function ask() {
        if (asking) {
            return;
        }
        asking = true;
        clearTimeout(timer);

        try {
            const answer = await fetch("summary?limit=" + limit, {
                headers: { "Accept": "application/json" }
            });

            if (!answer.ok) {
                throw new Error(answer.status);
            }

            const text = await answer.text();

            if (text !== shown) {
                show(JSON.parse(text));
                shown = text;
            }

            if (answer.headers.has("Sluice-Stale")) {
                say("The database is away. This is the summary as it was "
                    + "read last.");
            } else {
                say(listing.hidden ? "No files yet." : "");
            }
        } catch (error) {
            say(error.message === "403"
                ? "The summary is not open to you."
                : "The summary cannot be read just now.");
        }

        asking = false;
        if (document.visibilityState === "visible") {
            timer = setTimeout(ask, EVERY_MS);
        }
    }

    more.addEventListener("click", function () {
        limit = Math.min(limit + STEP, MAX);
        ask();
    });

    document.addEventListener("visibilitychange", function () {
        if (document.visibilityState === "visible") {
            ask();
        }
    });

    ask();
})();
