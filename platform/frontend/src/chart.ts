// Where charts are.

import "uplot/dist/uPlot.min.css";
import "./styles/chart.css";
import { Chart } from "./elements/chart";

customElements.define("cp-chart", Chart);
