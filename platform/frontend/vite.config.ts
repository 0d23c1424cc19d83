import { defineConfig } from "vite";

// Three entries and a manifest, which django-vite reads. Charts and chat load only where used.
export default defineConfig({
  base: "/static/",
  server: { host: "127.0.0.1" },
  build: {
    outDir: "dist",
    manifest: "manifest.json",
    target: ["chrome123", "edge123", "firefox121", "safari17.5"],
    assetsInlineLimit: 0, // the content security policy knows no data: addresses
    modulePreload: { polyfill: false },
    reportCompressedSize: false, // sizes.mjs measures, and refuses
    rolldownOptions: { input: ["src/main.ts", "src/chat.ts", "src/chart.ts"] },
  },
});
