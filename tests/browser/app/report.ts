// What is on the screen, for the tests: null until every variable and every panel has its data.
// What takes long to look at comes with `closely` alone.
import { FieldType, LoadingState, formattedValueToString } from '@grafana/data';
import { columnsOf, cutTexts, narrowColumns } from './fit';
import { EmbeddedScene, QueryVariable, SceneGridItem, SceneVariable, VizPanel, sceneGraph } from '@grafana/scenes';

export const PAGE_PADDING = 16;

export function report(scene: EmbeddedScene, closely: boolean) {
  const variables = sceneGraph.getVariables(scene).state.variables;
  if (sceneGraph.hasVariableDependencyInLoadingState(scene)) {
    return null;
  }
  const panels = sceneGraph.findAllObjects(scene, (object) => object instanceof VizPanel) as VizPanel[];
  const data = panels.map((panel) => sceneGraph.getData(panel).state.data);
  if (panels.some((panel, at) => panel.state.pluginId !== 'text' && !settled(data[at]?.state))) {
    return null;
  }
  // The grid is laid out, and panels are drawn, a moment after their data has come.
  if (!panels.every(inPlace)) {
    return null;
  }
  return {
    variables: Object.fromEntries(
      variables.map((variable) => [
        variable.state.name,
        {
          value: chosen(variable),
          options: variable instanceof QueryVariable ? variable.state.options : [],
          error: String((variable.state as { error?: unknown }).error ?? ''),
        },
      ]),
    ),
    links: [...document.querySelectorAll<HTMLAnchorElement>('[data-link]')].map((link) => ({
      title: link.innerText,
      url: link.getAttribute('href'),
      top: link.getBoundingClientRect().top,
    })),
    panels: panels.map((panel, at) => {
      const fields = shown(panel, data[at]);
      return { ...drawn(panel), ...fields, ...(closely ? looked(panel, fields.fields) : {}) };
    }),
  };
}

// "All" with a regular expression of its own is an object.
function chosen(variable: SceneVariable) {
  const value = variable.getValue();
  return typeof value === 'object' && value && !Array.isArray(value) ? '$__all' : value;
}

function settled(state?: LoadingState) {
  return state === LoadingState.Done || state === LoadingState.Error;
}

function elementOf(panel: VizPanel) {
  return document.querySelector<HTMLElement>(`[data-viz-panel-key="${panel.state.key}"]`);
}

function inPlace(panel: VizPanel) {
  const element = elementOf(panel);
  const { x = 0, width = 0 } = (panel.parent as SceneGridItem).state;
  const box = element?.getBoundingClientRect() ?? new DOMRect();
  const page = window.innerWidth - 2 * PAGE_PADDING;
  const isAt = (pixels: number, columns: number) => Math.abs(pixels / page - columns / 24) < 0.02;
  return element?.querySelector('[data-drawn], [data-not-drawn]') != null && isAt(box.left - PAGE_PADDING, x) && isAt(box.width, width);
}

function drawn(panel: VizPanel) {
  const element = elementOf(panel);
  return {
    title: panel.state.title,
    type: panel.state.pluginId,
    drawn: element?.querySelector('[data-drawn]') != null,
    empty: element?.querySelector('[data-not-drawn]') != null,
    text: element?.innerText ?? '',
    bottom: element?.getBoundingClientRect().bottom ?? 0,
  };
}

function looked(panel: VizPanel, fields: Array<{ name: string; unit: string }>) {
  const element = elementOf(panel);
  const canvases = [...(element?.querySelectorAll('canvas') ?? [])];
  const content = element?.querySelector('[data-drawn]');
  const amounts = new Set(fields.filter(({ unit }) => unit === 'currencyUSD').map(({ name }) => name));
  return {
    ...pixels(canvases),
    bars: element?.querySelectorAll('[data-bar]').length ?? 0,
    columns: content ? columnsOf(content) : [],
    cut: content ? cutTexts(content, panel.state.pluginId === 'bargauge' || panel.state.pluginId === 'stat') : [],
    narrow: content ? narrowColumns(content, amounts) : [],
  };
}

// Pixels that something was drawn on, and those of them that are no shade of grey, as grids and axes are.
function pixels(canvases: HTMLCanvasElement[]) {
  let [inked, coloured] = [0, 0];
  for (const canvas of canvases) {
    if (!canvas.width || !canvas.height) {
      continue;
    }
    const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      const shade = Math.max(data[at], data[at + 1], data[at + 2]) - Math.min(data[at], data[at + 1], data[at + 2]);
      inked += Number(data[at + 3] > 0);
      coloured += Number(data[at + 3] > 128 && shade > 60);
    }
  }
  return { inked, coloured };
}

function shown(panel: VizPanel, raw: ReturnType<typeof sceneGraph.getData>['state']['data']) {
  const data = panel.applyFieldConfig(raw);
  return {
    errors: [...(raw?.errors ?? []).map((error) => error.message), ...(raw?.error ? [raw.error.message] : [])],
    fields: data.series.flatMap((frame) =>
      frame.fields.map((field) => ({
        name: field.state?.displayName ?? field.config.displayName ?? field.config.displayNameFromDS ?? field.name,
        labels: field.labels ?? {},
        unit: field.config.unit ?? '',
        numeric: field.type === FieldType.number,
        values: field.values.slice(-400),
        texts: field.values.slice(-50).map((value) => (field.display ? formattedValueToString(field.display(value)) : String(value))),
      })),
    ),
  };
}
