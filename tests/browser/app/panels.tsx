// Grafana's panels, of which npm has the parts: these put the parts together as Grafana's own plugins do.
import {
  DisplayValueAlignmentFactors,
  Field,
  FieldDisplay,
  FieldType,
  PanelPlugin,
  PanelProps,
  VizOrientation,
  cacheFieldDisplayNames,
  formattedValueToString,
  getDisplayProcessor,
  getDisplayValueAlignmentFactors,
  getFieldDisplayName,
  getFieldDisplayValues,
  getFieldSeriesColor,
  identityOverrideProcessor,
  outerJoinDataFrames,
} from '@grafana/data';
import { sceneUtils } from '@grafana/scenes';
import { BarGauge, BigValue, TimeSeries, VizRepeater, useTheme2 } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { ReactNode, useMemo } from 'react';

const NOT_DRAWN = 'data-not-drawn';

function Nothing({ text }: { text: string }) {
  return (
    <div {...{ [NOT_DRAWN]: true }} style={{ display: 'grid', placeItems: 'center', height: '100%', opacity: 0.7 }}>
      {text}
    </div>
  );
}

function Drawn({ children }: { children: ReactNode }) {
  return <div data-drawn>{children}</div>;
}

function TimeSeriesPanel({ data, width, height, options, timeRange, timeZone, fieldConfig }: PanelProps) {
  if (!data.series.some((frame) => frame.length > 0)) {
    return <Nothing text={fieldConfig.defaults.noValue ?? 'No data'} />;
  }
  return (
    <Drawn>
      <TimeSeries
        frames={data.series}
        structureRev={data.structureRev}
        timeRange={timeRange}
        timeZone={timeZone}
        width={width}
        height={height}
        legend={options.legend}
        options={options}
      />
    </Drawn>
  );
}

function values({ data, fieldConfig, options, replaceVariables, timeZone }: PanelProps, theme: ReturnType<typeof useTheme2>) {
  return getFieldDisplayValues({
    fieldConfig,
    reduceOptions: options.reduceOptions,
    replaceVariables,
    theme,
    data: data.series,
    timeZone,
  });
}

function StatPanel(props: PanelProps) {
  const theme = useTheme2();
  const { data, width, height, options, renderCounter } = props;
  const shown = values(props, theme);
  return (
    <Drawn>
      <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
        getValues={() => shown}
        getAlignmentFactors={getDisplayValueAlignmentFactors}
        renderValue={({ value, alignmentFactors, width, height, count }) => (
          <BigValue
            value={value.display}
            count={count}
            colorMode={options.colorMode}
            graphMode={options.graphMode}
            justifyMode={options.justifyMode}
            textMode={options.textMode}
            disableWideLayout={options.wideLayout === false}
            alignmentFactors={alignmentFactors}
            width={width}
            height={height}
            theme={theme}
          />
        )}
        width={width}
        height={height}
        source={data}
        itemSpacing={3}
        renderCounter={renderCounter}
        autoGrid
        orientation={options.orientation ?? VizOrientation.Auto}
      />
    </Drawn>
  );
}

function BarGaugePanel(props: PanelProps) {
  const theme = useTheme2();
  const { data, width, height, options, renderCounter, fieldConfig } = props;
  if (data.series.length === 0) {
    return <Nothing text={fieldConfig.defaults.noValue ?? 'No data'} />;
  }
  const shown = values(props, theme);
  return (
    <Drawn>
      <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
        getValues={() => shown}
        getAlignmentFactors={getDisplayValueAlignmentFactors}
        renderValue={({ value, alignmentFactors, width, height, orientation, count }) => (
          <BarGauge
            value={value.display}
            field={value.field}
            display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
            alignmentFactors={alignmentFactors}
            orientation={orientation}
            displayMode={options.displayMode}
            namePlacement={options.namePlacement}
            showUnfilled={options.showUnfilled}
            valueDisplayMode={options.valueMode}
            itemSpacing={10}
            lcdCellWidth={12}
            text={options.text}
            isOverflow={count * height > props.height}
            width={width}
            height={height}
            theme={theme}
          />
        )}
        width={width}
        height={height}
        minVizWidth={options.minVizWidth}
        minVizHeight={options.minVizHeight}
        maxVizHeight={options.maxVizHeight}
        source={data}
        itemSpacing={10}
        renderCounter={renderCounter}
        orientation={options.orientation}
      />
    </Drawn>
  );
}

// Grafana 12 looks at `hidden`, 13 at `hideFrom`: a column that either of them would show is shown.
function asEitherVersionShows(field: Field): Field {
  const { hidden, hideFrom } = field.config.custom ?? {};
  const viz = Boolean(hidden && hideFrom?.viz);
  return { ...field, config: { ...field.config, custom: { ...field.config.custom, hideFrom: { ...hideFrom, viz } } } };
}

function TablePanel({ data, width, height, options, fieldConfig, timeRange }: PanelProps) {
  cacheFieldDisplayNames(data.series);
  const [first] = data.series;
  const frame = useMemo(() => first && { ...first, fields: first.fields.map(asEitherVersionShows) }, [first]);
  if (!frame || frame.length === 0) {
    return <Nothing text={fieldConfig.defaults.noValue ?? 'No data'} />;
  }
  return (
    <Drawn>
      <TableNG
        data={frame}
        width={width}
        height={height}
        noHeader={!options.showHeader}
        sortBy={options.sortBy}
        cellHeight={options.cellHeight}
        fieldConfig={fieldConfig}
        timeRange={timeRange}
        structureRev={data.structureRev}
        // What is off the screen is looked at, too.
        enableVirtualization={false}
        transparent={false}
      />
    </Drawn>
  );
}

// Grafana's bar chart is not on npm: this draws its bars and labels, to be counted and read, not its looks.
function BarChartPanel({ data, width, height, options, fieldConfig }: PanelProps) {
  const theme = useTheme2();
  const frame = data.series.length > 1 ? outerJoinDataFrames({ frames: data.series }) : data.series[0];
  if (!frame || frame.length === 0) {
    return <Nothing text={fieldConfig.defaults.noValue ?? 'No data'} />;
  }
  cacheFieldDisplayNames([frame]);
  const shown = frame.fields.filter((field) => !field.config.custom?.hideFrom?.viz);
  const names = (field: Field) => getFieldDisplayName(field, frame);
  const labels =
    shown.find((field) => names(field) === options.xField) ?? shown.find(({ type }) => type === FieldType.string) ?? shown[0];
  const bars = shown.filter((field) => field !== labels && field.type === FieldType.number);
  const text = (field: Field, at: number) => {
    const display = field.display ?? getDisplayProcessor({ field, theme });
    return formattedValueToString(display(field.values[at]));
  };
  // As Grafana does, as many labels as have room.
  const every = Math.ceil((70 * labels.values.length) / width);
  const hasRoom = (at: number) => at % every === 0 && at + every <= labels.values.length;
  const most = Math.max(...labels.values.map((_, at) => bars.reduce((sum, { values }) => sum + Math.max(values[at] ?? 0, 0), 0)));
  return (
    <Drawn>
      <div style={{ display: 'flex', alignItems: 'flex-end', width, height }}>
        {labels.values.map((_, at) => (
          <div key={at} style={{ flex: 1, minWidth: 0, textAlign: 'center' }}>
            {bars.map((field, index) => {
              const value = field.values[at];
              const style = {
                height: most > 0 ? (Math.max(value ?? 0, 0) / most) * (height - 20) : 0,
                margin: '0 4px',
                background: getFieldSeriesColor(field, theme).color,
              };
              return value == null ? null : <div key={index} data-bar title={`${names(field)}: ${text(field, at)}`} style={style} />;
            })}
            <div style={{ height: 20, whiteSpace: 'nowrap' }}>{hasRoom(at) ? text(labels, at) : ''}</div>
          </div>
        ))}
      </div>
    </Drawn>
  );
}

function TextPanel({ options }: PanelProps) {
  return <Drawn>{options.content}</Drawn>;
}

// A property that the registry does not know is dropped, silently: these are the ones of Grafana's own panels.
const CUSTOM: Record<string, string[]> = {
  timeseries: [
    ...['drawStyle', 'lineInterpolation', 'barAlignment', 'barWidthFactor', 'lineWidth', 'fillOpacity', 'gradientMode'],
    ...['lineStyle', 'spanNulls', 'insertNulls', 'showPoints', 'pointSize', 'stacking', 'axisPlacement', 'axisLabel'],
    ...['axisWidth', 'axisSoftMin', 'axisSoftMax', 'axisGridShow', 'axisBorderShow', 'axisColorMode', 'axisCenteredZero'],
    ...['scaleDistribution', 'hideFrom', 'transform', 'thresholdsStyle', 'fillBelowTo', 'showValues'],
  ],
  stat: [],
  bargauge: [],
  table: ['width', 'minWidth', 'align', 'cellOptions', 'inspect', 'filterable', 'hidden', 'hideFrom', 'footer', 'wrapText', 'wrapHeaderText'],
  barchart: [
    ...['lineWidth', 'fillOpacity', 'gradientMode', 'axisPlacement', 'axisLabel', 'axisWidth', 'axisSoftMin', 'axisSoftMax'],
    ...['axisGridShow', 'axisBorderShow', 'axisColorMode', 'axisCenteredZero', 'scaleDistribution', 'hideFrom', 'thresholdsStyle'],
  ],
  text: [],
};

const COMPONENTS = {
  timeseries: TimeSeriesPanel,
  stat: StatPanel,
  bargauge: BarGaugePanel,
  table: TablePanel,
  barchart: BarChartPanel,
  text: TextPanel,
};

export function registerPanels() {
  for (const [pluginId, component] of Object.entries(COMPONENTS)) {
    const plugin = new PanelPlugin(component).useFieldConfig({
      useCustomConfig: (builder) => {
        for (const path of CUSTOM[pluginId]) {
          builder.addCustomEditor({
            id: path,
            path,
            name: path,
            editor: () => null,
            override: () => null,
            process: identityOverrideProcessor,
            shouldApply: () => true,
            hideFromDefaults: false,
          });
        }
      },
    });
    sceneUtils.registerRuntimePanelPlugin({ pluginId, plugin });
  }
}
