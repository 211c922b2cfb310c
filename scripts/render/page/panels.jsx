// The kinds of panels that the boards use, and the frames that Grafana's Prometheus data source would make for them.
import { FieldType, getDisplayProcessor, getFieldDisplayValues, transformDataFrame } from '@grafana/data';
import { standardTransformers, standardTransformersRegistry, toDataFrame } from '@grafana/data';
import { BarGauge, BigValue, Table, TimeSeries, VizRepeater } from '@grafana/ui';

const known = Object.fromEntries(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() =>
  Object.values(known).map((one) => ({ id: one.id, name: one.name, transformation: one, editor: () => null }))
);

const number = (text) => (Number.isFinite(Number(text)) ? Number(text) : null);

// Frames of one query's answer: a series each, or for tables one frame with a column per label.
function framesOf(target, kind) {
  if (kind === 'table') {
    const labels = [...new Set(target.result.flatMap((one) => Object.keys(one.metric)))].sort();
    const columns = labels.map((label) => ({ name: label, type: FieldType.string, values: target.result.map((one) => one.metric[label]) }));
    const times = target.result.map((one) => one.value[0] * 1000);
    const values = target.result.map((one) => number(one.value[1]));
    return [{ fields: [{ name: 'Time', type: FieldType.time, values: times }, ...columns, { name: 'Value', type: FieldType.number, values }] }];
  }
  return target.result.map((one) => {
    const points = one.values ?? [one.value];
    const name = target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => one.metric[label] ?? '');
    return {
      refId: target.refId,
      name,
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map(([at]) => at * 1000) },
        { name: 'Value', type: FieldType.number, values: points.map(([, text]) => number(text)), config: { displayNameFromDS: name } },
      ],
    };
  });
}

const COLOR = { timeseries: 'palette-classic' };

export function prepare(panel, theme) {
  const defaults = panel.fieldConfig.defaults;
  let frames = panel.targets.flatMap((target) => framesOf(target, panel.type)).map(toDataFrame);
  for (const step of panel.transformations ?? []) {
    transformDataFrame([step], frames).subscribe((made) => (frames = made));
  }
  let index = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      if (field.type === FieldType.number) {
        field.state = { ...field.state, seriesIndex: index++ };
        field.config = { color: { mode: COLOR[panel.type] ?? 'thresholds' }, ...defaults, ...field.config, custom: { ...defaults.custom } };
      } else {
        field.config = { ...field.config, custom: {} };
      }
      field.display = getDisplayProcessor({ field, theme });
    }
  }
  return frames;
}

function Values({ panel, frames, width, height, theme, draw, orientation }) {
  const { fieldConfig, options } = panel;
  const getValues = () =>
    getFieldDisplayValues({
      fieldConfig: { ...fieldConfig, defaults: { color: { mode: 'thresholds' }, ...fieldConfig.defaults } },
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => text,
      theme,
      data: frames,
      timeZone: 'utc',
    });
  return (
    <VizRepeater source={frames} getValues={getValues} width={width} height={height} orientation={orientation}
      itemSpacing={6} minVizHeight={16} maxVizHeight={300} minVizWidth={40} renderCounter={0} renderValue={draw} autoGrid />
  );
}

export function Body({ panel, frames, width, height, range, theme }) {
  const { options } = panel;
  const common = { panel, frames, width, height, theme };
  if (frames.length === 0) {
    return <p>No data</p>;
  }
  if (panel.type === 'timeseries') {
    return <TimeSeries frames={frames} structureRev={1} timeRange={range} timeZone="utc" width={width} height={height} legend={options.legend} options={options} />;
  }
  if (panel.type === 'stat') {
    const draw = ({ value, width, height }) => (
      <BigValue value={value.display} width={width} height={height} theme={theme} colorMode={options.colorMode}
        graphMode={options.graphMode} justifyMode={options.justifyMode} textMode={options.textMode} />
    );
    return <Values {...common} draw={draw} orientation="auto" />;
  }
  if (panel.type === 'bargauge') {
    const draw = ({ value, width, height }) => (
      <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)} width={width}
        height={height} theme={theme} orientation={options.orientation} displayMode={options.displayMode} text={options.text} />
    );
    return <Values {...common} draw={draw} orientation={options.orientation} />;
  }
  return <Table data={frames[0]} width={width} height={height} columnMinWidth={80} />;
}
