// Asks Prometheus as Grafana's own datasource does: the same escaping, steps, alignment and names.
import {
  DataFrame,
  DataQueryRequest,
  DataQueryResponse,
  FieldType,
  MetricFindValue,
  ScopedVars,
  TimeRange,
  rangeUtil,
} from '@grafana/data';
import { RuntimeDataSource, SceneObject, sceneGraph } from '@grafana/scenes';
import { DataQuery } from '@grafana/schema';

interface PromQuery extends DataQuery {
  expr: string;
  format?: string;
  instant?: boolean;
  interval?: string;
  legendFormat?: string;
  range?: boolean;
}

interface VariableQuery {
  query: string;
}

type Labels = Record<string, string>;
interface Series {
  metric: Labels;
  value?: [number, string];
  values?: Array<[number, string]>;
}

const DAY = 86_400_000;
const SCRAPE_INTERVAL = 60_000; // the provisioned datasource's timeInterval

export class Prometheus extends RuntimeDataSource<PromQuery> {
  constructor(
    uid: string,
    private readonly url: string,
  ) {
    super('prometheus', uid);
  }

  async query(request: DataQueryRequest<PromQuery>): Promise<DataQueryResponse> {
    const answers = await Promise.all(request.targets.filter((t) => !t.hide).map((t) => this.frames(t, request)));
    return { data: answers.flat() };
  }

  private async frames(target: PromQuery, request: DataQueryRequest<PromQuery>): Promise<DataFrame[]> {
    const { range } = request;
    const spanMs = range.to.valueOf() - range.from.valueOf();
    const wanted = target.interval ? rangeUtil.intervalToMs(target.interval) : SCRAPE_INTERVAL;
    const fitting = rangeUtil.calculateInterval(range, request.maxDataPoints ?? 1000, target.interval || '1m');
    // Prometheus answers at most 11,000 points a series.
    const stepMs = Math.max(fitting.intervalMs, wanted, Math.ceil(spanMs / 11_000 / 1000) * 1000);
    const expr = interpolate(target.expr, request.scopedVars, range, stepMs);
    const series = target.instant
      ? await this.ask('query', { query: expr, time: String(range.to.valueOf() / 1000) })
      : await this.ask('query_range', { query: expr, ...aligned(range, stepMs) });
    return target.format === 'table'
      ? table(series, target, request.targets.length)
      : series.map((one) => frame(one, target, stepMs));
  }

  async metricFindQuery(query: VariableQuery, options: { range: TimeRange; scopedVars: ScopedVars }) {
    const text = interpolate(query.query, options.scopedVars, options.range, DAY);
    const start = String(options.range.from.valueOf() / 1000);
    const end = String(options.range.to.valueOf() / 1000);
    const values = /^label_values\((.+),\s*(\w+)\s*\)$/s.exec(text);
    if (values) {
      const found = await this.get<string[]>(`label/${values[2]}/values`, { 'match[]': values[1], start, end });
      return found.map((text): MetricFindValue => ({ text }));
    }
    const names = /^label_names\((.+)\)$/s.exec(text);
    if (names) {
      const found = await this.get<string[]>('labels', { 'match[]': names[1], start, end });
      return found.map((text): MetricFindValue => ({ text }));
    }
    const result = /^query_result\((.+)\)$/s.exec(text);
    if (!result) {
      throw new Error(`not a variable query: ${text}`);
    }
    const found = await this.ask('query', { query: result[1], time: end });
    return found.map((one): MetricFindValue => {
      const labels = Object.entries(one.metric).map(([name, value]) => `${name}="${value}"`);
      return { text: `{${labels.join(',')}} ${one.value![1]} ${one.value![0] * 1000}` };
    });
  }

  private async ask(path: string, params: Record<string, string>): Promise<Series[]> {
    return (await this.get<{ result: Series[] }>(path, params)).result;
  }

  private async get<T>(path: string, params: Record<string, string>): Promise<T> {
    const post = path.startsWith('query');
    const encoded = new URLSearchParams(params);
    const response = await fetch(
      `${this.url}/api/v1/${path}${post ? '' : `?${encoded}`}`,
      post ? { method: 'POST', body: encoded } : {},
    );
    const answer = await response.json();
    if (answer.status !== 'success') {
      throw new Error(`${answer.error}: ${params.query ?? params['match[]']}`);
    }
    return answer.data;
  }
}

function interpolate(text: string, scoped: ScopedVars, range: TimeRange, stepMs: number): string {
  const seconds = Math.round((range.to.valueOf() - range.from.valueOf()) / 1000);
  const own: Labels = {
    __interval: `${stepMs / 1000}s`,
    __rate_interval: `${Math.max(stepMs + SCRAPE_INTERVAL, 4 * SCRAPE_INTERVAL) / 1000}s`,
    __range: `${seconds}s`,
    __range_s: String(seconds),
    __range_ms: String(seconds * 1000),
  };
  const known = text.replace(/\$(?:\{(__\w+)\}|(__\w+))/g, (all, braced, bare) => own[braced ?? bare] ?? all);
  const scene: SceneObject = (scoped.__sceneObject?.value as { valueOf(): SceneObject }).valueOf();
  return sceneGraph.interpolate(scene, known, scoped, escapeValue);
}

// A variable that may hold several values stands in a regular expression, inside of a quoted string.
function escapeValue(value: unknown, variable: { multi?: boolean; includeAll?: boolean }): string {
  const regular = (text: string) => text.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]+?.()|]/g, '\\\\$&');
  if (Array.isArray(value)) {
    const all = value.map((one) => regular(String(one)));
    return all.length === 1 ? all[0] : `(${all.join('|')})`;
  }
  if (!variable.multi && !variable.includeAll) {
    return String(value).replace(/\\/g, '\\\\').replace(/"/g, '\\"');
  }
  return regular(String(value));
}

// Steps lie at multiples of the step in the zone of the dashboard.
function aligned(range: TimeRange, stepMs: number): Record<string, string> {
  const offset = range.to.utcOffset() * 60_000;
  const align = (at: number) => Math.floor((at + offset) / stepMs) * stepMs - offset;
  return {
    start: String(align(range.from.valueOf()) / 1000),
    end: String(align(range.to.valueOf()) / 1000),
    step: String(stepMs / 1000),
  };
}

function frame(series: Series, target: PromQuery, stepMs: number): DataFrame {
  const points = series.values ?? [series.value!];
  const name = (target.legendFormat ?? '').replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => series.metric[label] ?? '');
  return {
    refId: target.refId,
    length: points.length,
    fields: [
      {
        name: 'Time',
        type: FieldType.time,
        config: { interval: stepMs },
        values: points.map(([at]) => at * 1000),
      },
      {
        name: 'Value',
        type: FieldType.number,
        config: { displayNameFromDS: name },
        labels: series.metric,
        values: points.map(([, value]) => Number(value)),
      },
    ],
  };
}

function table(series: Series[], target: PromQuery, queries: number): DataFrame[] {
  const labels = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].sort();
  const column = (name: string, values: string[]) => ({ name, type: FieldType.string, config: {}, values });
  return [
    {
      refId: target.refId,
      length: series.length,
      fields: [
        { name: 'Time', type: FieldType.time, config: {}, values: series.map((one) => one.value![0] * 1000) },
        ...labels.map((label) => column(label, series.map((one) => one.metric[label] ?? ''))),
        {
          name: queries > 1 ? `Value #${target.refId}` : 'Value',
          type: FieldType.number,
          config: {},
          values: series.map((one) => Number(one.value![1])),
        },
      ],
    },
  ];
}
