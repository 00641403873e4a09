// Bundles app/ with Grafana's libraries into dist/. esbuild, because it runs on Debian's Node 18 and in seconds.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

rmSync('dist', { recursive: true, force: true });
mkdirSync('dist', { recursive: true });
await build({
  entryPoints: ['app/main.tsx'],
  bundle: true,
  outdir: 'dist',
  format: 'esm',
  splitting: true,
  target: 'es2022',
  jsx: 'automatic',
  // Development builds of React warn about libraries that are not ours.
  define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
  loader: { '.svg': 'dataurl', '.woff2': 'empty', '.woff': 'empty', '.ttf': 'empty', '.png': 'dataurl' },
  // Scenes asks for the router that Grafana carries beside an older one; here there is only one.
  alias: { 'react-router-dom-v5-compat': 'react-router-dom' },
  logLevel: 'warning',
});
cpSync('app/index.html', 'dist/index.html');
cpSync('node_modules/@grafana/ui/dist/public/img', 'dist/public/build/img', { recursive: true });
// Grafana's font, under the names that its style sheet asks for.
for (const [name, weight] of Object.entries({ Regular: 400, Medium: 500, SemiBold: 600 })) {
  cpSync(
    `node_modules/@fontsource/inter/files/inter-latin-${weight}-normal.woff2`,
    `dist/public/fonts/inter/Inter-${name}.woff2`,
  );
}
