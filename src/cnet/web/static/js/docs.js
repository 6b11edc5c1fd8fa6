// Swagger UI over the agent's own description, in the colours of the page.
const { theme } = document.documentElement.dataset;
const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
document.documentElement.classList.toggle("dark-mode", dark);
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  ...("readOnly" in document.getElementById("swagger").dataset ? { supportedSubmitMethods: ["get", "head"] } : {}),
});
