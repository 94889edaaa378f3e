'use strict';
// Draws what Python has made: the numbers of each figure, and how they look on a light and on a dark ground.
const figures = JSON.parse(document.getElementById('figures-data').textContent);
const places = [...document.querySelectorAll('.plot')];
const dark = matchMedia('(prefers-color-scheme: dark)');
const hidden = figures.map(() => new Set());
let printing = false;
const PAPER = 680; // px that a sheet has room for: the browser prints a figure as wide as it was drawn

// Nothing is offered that would send a figure somewhere.
Plotly.setPlotConfig({ displaylogo: false, showSendToCloud: false, plotlyServerURL: '' });
const CONFIG = { responsive: true, modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d', 'zoomIn2d', 'zoomOut2d', 'pan2d', 'zoom2d'], toImageButtonOptions: { format: 'svg' } };

function draw(place) {
  const { data, keys, looks } = figures[place];
  const look = looks[dark.matches && !printing ? 'dark' : 'light'];
  const traces = data.map((trace, index) => ({ ...trace, ...look.data[index], visible: !hidden[place].has(keys[index]) }));
  return Plotly.react(places[place], traces, { ...structuredClone(look.layout), width: printing ? PAPER : undefined }, CONFIG);
}

const drawAll = () => places.forEach((_, place) => draw(place));

places.forEach((element, place) => {
  for (const button of element.parentElement.querySelectorAll('.legend button')) {
    button.addEventListener('click', () => {
      const shown = button.getAttribute('aria-pressed') === 'true';
      button.setAttribute('aria-pressed', String(!shown));
      if (shown) hidden[place].add(button.dataset.key); else hidden[place].delete(button.dataset.key);
      void draw(place);
    });
  }
});

dark.addEventListener('change', drawAll);
for (const [event, paper] of [['beforeprint', true], ['afterprint', false]]) {
  addEventListener(event, () => { printing = paper; drawAll(); });
}

// One after the other, so that the text can be read and scrolled meanwhile.
(async () => {
  for (const place of places.keys()) {
    await draw(place);
    await new Promise((later) => setTimeout(later));
  }
  document.documentElement.dataset.drawn = 'true';
})();
