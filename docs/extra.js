"use strict";
// Code that scrolls is reached by keyboard; the button beside it is no landmark.
addEventListener("load", () => {
  const mend = () => {
    document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach((box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    });
    document.querySelectorAll("nav.md-code__nav").forEach((part) => part.setAttribute("role", "none"));
  };
  mend();
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
  addEventListener("resize", mend);
});
