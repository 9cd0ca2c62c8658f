// Draws the figures of class "interactive", moved by their sliders. Nothing is fetched: the specification is part of the page.
(() => {
  const NARROW = 520, MARGIN = 64;  // pixels; the margin is that of studies/interactive.py

  function fitted(specification, width) {
    const columns = width < NARROW ? 1 : specification.columns;
    const concat = specification.concat.map(chart => ({...chart, width: Math.floor(width / columns) - MARGIN}));
    return {...specification, columns, concat};
  }

  function activate(figure) {
    const [sliders, live, still] = [".sliders", ".live", ".still"].map(name => figure.querySelector(name));
    const specification = JSON.parse(figure.querySelector("script").textContent);
    const inputs = [...sliders.querySelectorAll("input")].map(input => ({input, ...JSON.parse(input.dataset.positions)}));
    let view, drawn;

    function set({input, name, values, texts}) {
      input.setAttribute("aria-valuetext", texts[input.value]);
      input.nextElementSibling.textContent = texts[input.value];
      view?.signal(name, values[input.value]).runAsync();
    }

    async function draw() {
      const width = Math.min(figure.clientWidth, 760);
      if (!width || width === drawn) return;
      drawn = width;
      const options = {actions: false, renderer: "svg", mode: "vega-lite", tooltip: false};
      const result = await vegaEmbed(live.firstElementChild, fitted(specification, width), options);
      if (width !== drawn) return result.finalize();
      view = result.view;
      inputs.forEach(set);
      figure.dataset.drawn = "";
    }

    for (const one of inputs) one.input.addEventListener("input", () => set(one));
    sliders.hidden = live.hidden = false;
    still.classList.add("replaced");
    new ResizeObserver(draw).observe(figure);
  }

  document.querySelectorAll(".interactive").forEach(activate);
})();
