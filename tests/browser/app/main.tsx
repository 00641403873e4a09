// /?prometheus=http://127.0.0.1:9090, then window.show('dashboard=overview&from=now-30d&to=now&timezone=utc&var-account=1234&...').
import { DataQueryRequest, DataSourceApi, EventBusSrv, LoadingState, PanelData, createTheme } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { config, locationService, setAppEvents, setDataSourceSrv, setPluginImportUtils, setRunRequest } from '@grafana/runtime';
import { registerRuntimeDataSource } from '@grafana/scenes';
import { GlobalStyles, PortalContainer } from '@grafana/ui';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom';
import { Observable, from, of } from 'rxjs';
import { catchError, map, startWith } from 'rxjs/operators';
import { registerPanels } from './panels';
import { Prometheus } from './prometheus';
import { fillRegistries } from './registries';
import { Links } from './links';
import { PAGE_PADDING, report } from './report';
import { sceneOf } from './scene';

const DATASOURCE = 'aws-spend-prometheus';
const asked = new URLSearchParams(location.search);

// What Grafana's server tells its pages.
const theme = createTheme({ colors: { mode: asked.get('theme') === 'light' ? 'light' : 'dark' } });
config.theme2 = theme;
config.bootData = { user: { timezone: 'browser' }, settings: {}, navTree: [] } as never;
config.featureToggles = {} as never;

const datasource = new Prometheus(DATASOURCE, asked.get('prometheus')!);
registerRuntimeDataSource({ dataSource: datasource });
setDataSourceSrv({
  get: async () => datasource,
  getList: () => [{ name: 'Prometheus', uid: DATASOURCE, type: 'prometheus', isDefault: true }],
  getInstanceSettings: () => ({ name: 'Prometheus', uid: DATASOURCE, type: 'prometheus' }),
} as never);
setAppEvents(new EventBusSrv());
setPluginImportUtils({
  importPanelPlugin: (id: string) => Promise.reject(new Error(`no such panel here: ${id}`)),
  getPanelPluginFromCache: () => undefined,
} as never);
setRunRequest((source: DataSourceApi, request: DataQueryRequest): Observable<PanelData> => {
  const answer = (data: Partial<PanelData>) => ({ series: [], timeRange: request.range, request, ...data }) as PanelData;
  return from(source.query(request)).pipe(
    map((response) => answer({ state: LoadingState.Done, series: response.data })),
    catchError((error) => of(answer({ state: LoadingState.Error, errors: [{ message: String(error) }] }))),
    startWith(answer({ state: LoadingState.Loading })),
  );
});
locationService.partial({});

await initPluginTranslations('grafana');
fillRegistries();
registerPanels();
const others = await (await fetch('/dashboards/')).json();
const root = createRoot(document.getElementById('root')!);
let leave = () => {};

// Draws another dashboard; the libraries stay loaded and compiled.
async function show(search: string) {
  const asked = new URLSearchParams(search);
  const dashboard = await (await fetch(`/dashboards/${asked.get('dashboard')}.json`)).json();
  flushSync(() => root.render(null));
  leave();
  const scene = sceneOf(dashboard, asked);
  leave = scene.activate();
  root.render(
    <MemoryRouter>
      <GlobalStyles isExtensionSidebarOpen={false} />
      <div style={{ padding: `0 ${PAGE_PADDING}px` }}>
        <Links dashboard={dashboard} others={others} />
        <scene.Component model={scene} />
      </div>
      <PortalContainer />
    </MemoryRouter>,
  );
  Object.assign(window, { report: (closely: boolean) => report(scene, closely) });
}

Object.assign(window, { show });
