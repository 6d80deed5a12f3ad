import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    rules: {
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-unused-vars": ["error", { caughtErrors: "all" }],
    },
  },
  {
    files: ["export/web/static/*.js"],
    languageOptions: { globals: globals.browser },
  },
  {
    files: ["export/web/static/sw.js"],
    languageOptions: { sourceType: "script", globals: globals.serviceworker },
  },
  {
    files: ["tests/web/*.mjs", "benchmarks/web/*.mjs"],
    // Functions that are handed to the browser stand in the same file.
    languageOptions: { globals: { ...globals.node, ...globals.browser } },
  },
];
