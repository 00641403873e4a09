// Grafana's own TypeScript types of dashboards, panels and Prometheus queries, as JSON Schema.
// The result is committed, so that the tests need no Node.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createGenerator } from 'ts-json-schema-generator';

const root = 'node_modules/@grafana/schema';
const raw = `${root}/dist/types/raw`;
// What our dashboards are made of; the others would only make the file large.
const panels = ['barchart', 'bargauge', 'gauge', 'piechart', 'stat', 'statetimeline', 'table', 'text', 'timeseries'];

function schema(path, type) {
  return createGenerator({ path, type, skipTypeCheck: true, topRef: true }).createSchema(type);
}

function panel(name) {
  const folder = `${raw}/composable/${name}/panelcfg/x`;
  const path = `${folder}/${readdirSync(folder).find((file) => file.endsWith('.d.ts'))}`;
  const types = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return Object.fromEntries(
    ['Options', 'FieldConfig']
      .filter((type) => new RegExp(`export (interface|type) ${type}\\b`).test(types))
      .map((type) => [type, schema(path, type)]),
  );
}

const output = {
  version: JSON.parse(readFileSync(`${root}/package.json`, 'utf8')).version,
  dashboard: schema(`${raw}/dashboard/x/types.gen.d.ts`, 'Dashboard'),
  panels: Object.fromEntries(panels.map((name) => [name, panel(name)])),
};
writeFileSync('grafana.schema.json', `${JSON.stringify(output, null, 1)}\n`);
