// A card with the first words of what a link inside the book leads to, under the pointer or the keyboard's focus; Escape closes it.
(() => {
  const LINKS = "article a.reference.internal[href*='#'], article a.xref[href*='#']";
  const GAP = 8;  // pixels between card, link and window
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href).href;
  const card = document.createElement("div");
  card.className = "preview tex2jax_process";
  card.id = "preview";
  card.setAttribute("role", "tooltip");
  card.hidden = true;
  let texts, link, timer;

  function loaded() {
    texts ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = `${root}_static/previews.js`;
      script.onload = () => done(window.previews);
      script.onerror = failed;
      document.head.append(script);
    });
    return texts;
  }

  function place() {
    const at = link.getBoundingClientRect(), own = card.getBoundingClientRect();
    const below = at.bottom + GAP / 2;
    card.style.left = `${Math.max(GAP, Math.min(at.left, innerWidth - own.width - GAP))}px`;
    card.style.top = `${below + own.height < innerHeight ? below : Math.max(GAP, at.top - own.height - GAP / 2)}px`;
  }

  async function show(target) {
    const known = (await loaded())[decodeURIComponent(target.href.slice(root.length))];
    if (!known || target !== link) return;
    const [title, text] = known;
    card.replaceChildren(...[["strong", title], ["p", text]].filter(([, words]) => words).map(([tag, words]) => {
      const part = document.createElement(tag);
      part.textContent = words;
      return part;
    }));
    card.hidden = false;
    link.setAttribute("aria-describedby", card.id);
    await window.MathJax?.typesetPromise?.([card]);
    if (target === link) place();
  }

  function close() {
    clearTimeout(timer);
    link?.removeAttribute("aria-describedby");
    link = undefined;
    card.hidden = true;
  }

  function enter(event) {
    if (card.contains(event.target)) return clearTimeout(timer);
    const target = event.pointerType === "touch" ? null : event.target.closest?.(LINKS);
    if (!target) return;
    clearTimeout(timer);
    if (target === link) return;
    close();
    link = target;
    timer = setTimeout(show, event.type === "focusin" ? 0 : 300, target);
  }

  function leave(event) {
    if (link && (event.target === link || link.contains(event.target) || card.contains(event.target))) {
      clearTimeout(timer);
      timer = setTimeout(close, 200);
    }
  }

  addEventListener("DOMContentLoaded", () => document.body.append(card));
  for (const type of ["pointerover", "focusin"]) document.addEventListener(type, enter);
  for (const type of ["pointerout", "focusout"]) document.addEventListener(type, leave);
  document.addEventListener("keydown", event => event.key === "Escape" && close());
  addEventListener("scroll", () => card.hidden || place(), {passive: true});
})();
