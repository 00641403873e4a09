// The registries that Grafana fills at its start: what is not in them is dropped, silently.
import {
  FieldConfigPropertyItem,
  booleanOverrideProcessor,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';

const PROPERTIES: Record<string, FieldConfigPropertyItem['process']> = {
  color: identityOverrideProcessor,
  decimals: numberOverrideProcessor,
  description: stringOverrideProcessor,
  displayName: displayNameOverrideProcessor,
  fieldMinMax: booleanOverrideProcessor,
  filterable: booleanOverrideProcessor,
  links: dataLinksOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  max: numberOverrideProcessor,
  min: numberOverrideProcessor,
  noValue: stringOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  unit: unitOverrideProcessor,
};

const nothing = () => null;

export function fillRegistries() {
  standardFieldConfigEditorRegistry.setInit(() =>
    Object.entries(PROPERTIES).map(([id, process]) => ({
      id,
      path: id,
      name: id,
      editor: nothing,
      override: nothing,
      process,
      shouldApply: () => true,
    })),
  );
  standardTransformersRegistry.setInit(() =>
    // Two of them go by two names.
    [...new Map(Object.values(standardTransformers).map((one) => [one.id, one])).values()].map((transformer) => ({
      id: transformer.id,
      name: transformer.name,
      transformation: async () => transformer as never,
      editor: nothing,
      imageDark: '',
      imageLight: '',
    })),
  );
}
