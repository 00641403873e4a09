// A dashboard's JSON as Grafana's scene.
import {
  DataSourceVariable,
  EmbeddedScene,
  QueryVariable,
  SceneDataTransformer,
  SceneGridItem,
  SceneGridLayout,
  SceneQueryRunner,
  SceneTimePicker,
  SceneTimeRange,
  SceneVariable,
  SceneVariableSet,
  VariableValueSelectors,
  VizPanel,
} from '@grafana/scenes';

/* eslint-disable @typescript-eslint/no-explicit-any -- the document is checked against its schema elsewhere */
export function sceneOf(dashboard: any, asked: URLSearchParams): EmbeddedScene {
  const to = asked.get('to') ?? dashboard.time.to;
  return new EmbeddedScene({
    $timeRange: new SceneTimeRange({
      from: asked.get('from') ?? dashboard.time.from,
      to,
      timeZone: asked.get('timezone') ?? dashboard.timezone,
    }),
    $variables: new SceneVariableSet({
      variables: dashboard.templating.list.map((variable: any) => variableOf(variable, asked)),
    }),
    controls: [new VariableValueSelectors({}), new SceneTimePicker({})],
    body: new SceneGridLayout({
      isDraggable: false,
      isResizable: false,
      isLazy: false,
      children: chosen(dashboard.panels, asked.getAll('panel')).map((panel: any) => itemOf(panel, to)),
    }),
  });
}

// All panels, or those of these titles.
function chosen(panels: any[], titles: string[]) {
  return titles.length > 0 ? panels.filter(({ title }) => titles.includes(title)) : panels;
}

function variableOf(variable: any, asked: URLSearchParams): SceneVariable {
  const chosen = asked.getAll(`var-${variable.name}`);
  const current = chosen.length > 0 ? { value: chosen, text: chosen } : (variable.current ?? {});
  const single = (value: any) => (variable.multi ? value : Array.isArray(value) ? value[0] : value);
  const common = { name: variable.name, label: variable.label, description: variable.description, hide: variable.hide };
  if (variable.type === 'datasource') {
    return new DataSourceVariable({ ...common, pluginId: variable.query });
  }
  return new QueryVariable({
    ...common,
    value: single(current.value) ?? '',
    text: single(current.text) ?? '',
    query: variable.query,
    datasource: variable.datasource,
    regex: variable.regex,
    sort: variable.sort,
    refresh: variable.refresh,
    isMulti: variable.multi,
    includeAll: variable.includeAll,
    allValue: variable.allValue,
    defaultToAll: variable.includeAll && chosen.length === 0,
  });
}

function itemOf(panel: any, to: string): SceneGridItem {
  const { x, y, w, h } = panel.gridPos;
  const queries = new SceneQueryRunner({ datasource: panel.datasource, queries: panel.targets ?? [] });
  return new SceneGridItem({
    x,
    y,
    width: w,
    height: h,
    body: new VizPanel({
      key: `panel-${panel.id}`,
      title: panel.title,
      description: panel.description,
      pluginId: panel.type,
      options: panel.options,
      fieldConfig: panel.fieldConfig,
      // A panel's own range counts while that of the dashboard is relative to now.
      ...(panel.timeFrom && to.startsWith('now') ? { $timeRange: new SceneTimeRange({ from: `now-${panel.timeFrom}`, to }) } : {}),
      $data: panel.transformations?.length
        ? new SceneDataTransformer({ $data: queries, transformations: panel.transformations })
        : queries,
    }),
  });
}
