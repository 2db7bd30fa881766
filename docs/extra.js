"use strict";
// Code that scrolls is reached by keyboard; the button beside it is no landmark. Browsers let no page that is opened
// from disk start the worker that searches.
addEventListener("load", () => {
  const mend = () => {
    document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach((box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    });
    document.querySelectorAll("nav.md-code__nav").forEach((part) => part.setAttribute("role", "none"));
  };
  if (location.protocol === "file:") {
    document.querySelector(".md-header__button[for=__search]").hidden = true;
    const note = document.createElement("span");
    note.className = "no-search";
    note.textContent = "Search needs a server: python -m http.server";
    document.querySelector(".md-search").replaceWith(note);
  }
  mend();
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
  addEventListener("resize", mend);
});
