(function () {
  "use strict";

  var root = document.documentElement;
  var system = window.matchMedia("(prefers-color-scheme: dark)");
  var coarse = window.matchMedia("(pointer: coarse)").matches;
  var darkColours = JSON.parse(document.getElementById("dark-colours").textContent);
  var charts = [];
  var NARROW = 560;

  function isDark() {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : system.matches;
  }

  /* Figures are written in light colours; a dark page replaces those that are listed. */
  function themed(value) {
    if (typeof value === "string") {
      return isDark() && Object.hasOwn(darkColours, value) ? darkColours[value] : value;
    }
    if (Array.isArray(value)) {
      return value.map(themed);
    }
    if (value !== null && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (key) {
        copy[key] = themed(value[key]);
      });
      return copy;
    }
    return value;
  }

  /* On a narrow page names stand above their rows, where they leave room for the rows. */
  function namesAbove(layout) {
    var axis = layout.yaxis;
    if (!axis || !axis.ticktext || !axis.fixedrange) {
      return;
    }
    var count = axis.ticktext.length;
    axis.showticklabels = false;
    axis.range = [axis.range[0], axis.range[1] - 0.3];
    layout.height += 16 * count;
    layout.margin.l = 12;
    var inside = layout.height - layout.margin.t - layout.margin.b;
    var row = inside / (axis.range[0] - axis.range[1]);
    layout.annotations = (layout.annotations || []).concat(axis.ticktext.map(function (name, place) {
      return {
        text: name, xref: "paper", x: 0, xanchor: "left", y: axis.tickvals[place],
        yshift: Math.round(0.3 * row + 8), showarrow: false, font: { size: 11 }
      };
    }));
  }

  /* Two figures side by side come to stand one below the other. */
  function stacked(layout) {
    if (!layout.xaxis2 || !layout.xaxis2.domain) {
      return;
    }
    layout.xaxis.domain = [0, 1];
    layout.xaxis2.domain = [0, 1];
    layout.yaxis.domain = [0.62, 1];
    layout.yaxis2.domain = [0, 0.46];
    layout.height *= 1.6;
  }

  /* Many names below a figure get smaller, and lose their second lines. */
  function smallNames(layout) {
    [layout.xaxis, layout.xaxis2].forEach(function (axis) {
      if (axis && axis.ticktext && axis.ticktext.length > 6) {
        axis.tickfont = { size: 10 };
        axis.ticktext = axis.ticktext.map(function (name) {
          return name.split("<br>")[0];
        });
      }
    });
  }

  function Chart(node) {
    var spec = JSON.parse(node.querySelector("script[type='application/json']").textContent);
    var plot = node.querySelector(".plot");
    var choice = node.querySelector("select");
    var slider = node.querySelector("input[type='range']");
    var output = node.querySelector("output");
    var button = node.querySelector(".play");
    var config = {
      responsive: true,
      displaylogo: false,
      displayModeBar: coarse ? false : "hover",
      /* Nothing that would send data away. */
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
      toImageButtonOptions: { format: "svg", filename: spec.name }
    };
    var timer = null;
    var narrow = false;

    function variant() {
      return spec.variants[choice ? Number(choice.value) : 0];
    }

    function draw() {
      var chosen = variant();
      var layout = themed(chosen.layout);
      narrow = plot.clientWidth < NARROW;
      if (narrow) {
        namesAbove(layout);
        stacked(layout);
        smallNames(layout);
      }
      /* A finger that moves over a figure scrolls the page. */
      layout.dragmode = coarse ? false : layout.dragmode || "zoom";
      plot.style.minHeight = layout.height + "px";
      return window.Plotly.react(plot, themed(chosen.data), layout, config).then(function () {
        return slider ? show(Number(slider.value)) : null;
      });
    }

    function show(number) {
      var frame = spec.frames[number];
      output.textContent = frame.label;
      slider.setAttribute("aria-valuetext", frame.label);
      return window.Plotly.restyle(plot, themed(frame.update), frame.traces);
    }

    function stop() {
      window.clearInterval(timer);
      timer = null;
      button.textContent = "▶ Play";
    }

    function play() {
      var last = spec.frames.length - 1;
      if (Number(slider.value) === last) {
        slider.value = 0;
        show(0);
      }
      button.textContent = "❚❚ Pause";
      timer = window.setInterval(function () {
        if (Number(slider.value) >= last) {
          stop();
          return;
        }
        slider.value = Number(slider.value) + 1;
        show(Number(slider.value));
      }, Math.max(80, Math.min(600, 9000 / spec.frames.length)));
    }

    if (choice) {
      choice.addEventListener("change", draw);
    }
    if (slider) {
      slider.addEventListener("input", function () {
        if (timer !== null) {
          stop();
        }
        show(Number(slider.value));
      });
      button.addEventListener("click", function () {
        if (timer === null) {
          play();
        } else {
          stop();
        }
      });
    }
    this.draw = draw;
    this.fit = function () {
      if (plot.clientWidth < NARROW !== narrow) {
        draw();
      }
    };
    this.plot = plot;
  }

  function setTheme(name) {
    root.setAttribute("data-theme", name);
    try {
      window.localStorage.setItem("jaxlik-theme", name);
    } catch (error) {
      /* Pages without storage forget the choice. */
    }
    drawAll();
  }

  function drawAll() {
    charts.forEach(function (chart) {
      chart.draw();
    });
  }

  /* Text without markup, or the number behind it. */
  function orderOf(cell) {
    var given = cell.getAttribute("data-order");
    var text = given === null ? cell.textContent.trim() : given;
    var plain = text.replace(/−/g, "-").replace(/^[<>~≈\s]+/, "");
    var number = parseFloat(plain);
    var numeric = /^[-+]?(\d|\.\d)/.test(plain) && (given !== null ? !isNaN(Number(plain)) : cell.classList.contains("n"));
    return { empty: text === "" || text === "–", number: numeric ? number : null, text: text };
  }

  function sortTable(table, place, header) {
    var body = table.tBodies[0];
    var rows = Array.from(body.rows);
    var first = header.classList.contains("n") ? "descending" : "ascending";
    var other = first === "descending" ? "ascending" : "descending";
    var direction = header.getAttribute("aria-sort") === first ? other : first;
    var sign = direction === "ascending" ? 1 : -1;
    var keys = new Map(rows.map(function (row) {
      return [row, orderOf(row.cells[place])];
    }));
    rows.sort(function (one, two) {
      var a = keys.get(one);
      var b = keys.get(two);
      if (a.empty || b.empty) {
        return Number(a.empty) - Number(b.empty);
      }
      if (a.number !== null && b.number !== null) {
        return sign * (a.number - b.number);
      }
      return sign * a.text.localeCompare(b.text, "en", { numeric: true });
    });
    Array.from(header.parentNode.cells).forEach(function (cell) {
      cell.removeAttribute("aria-sort");
    });
    header.setAttribute("aria-sort", direction);
    body.append.apply(body, rows);
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (header, place) {
      header.querySelector("button").addEventListener("click", function () {
        sortTable(table, place, header);
      });
    });
  });

  try {
    var stored = window.localStorage.getItem("jaxlik-theme");
    if (stored === "dark" || stored === "light") {
      root.setAttribute("data-theme", stored);
    }
  } catch (error) {
    /* The system decides. */
  }
  document.getElementById("theme").addEventListener("click", function () {
    setTheme(isDark() ? "light" : "dark");
  });
  system.addEventListener("change", drawAll);
  window.addEventListener("resize", function () {
    charts.forEach(function (chart) {
      chart.fit();
    });
  });

  document.querySelectorAll("figure.chart").forEach(function (node) {
    charts.push(new Chart(node));
  });
  drawAll();

  /* A figure in a closed part has no width until it is opened. */
  document.querySelectorAll("details").forEach(function (part) {
    part.addEventListener("toggle", function () {
      charts.forEach(function (chart) {
        if (part.open && part.contains(chart.plot)) {
          window.Plotly.Plots.resize(chart.plot);
        }
      });
    });
  });

  if ("IntersectionObserver" in window) {
    var links = new Map();
    document.querySelectorAll("nav a").forEach(function (anchor) {
      links.set(anchor.getAttribute("href").slice(1), anchor);
    });
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (entry.isIntersecting) {
          links.forEach(function (anchor) {
            anchor.classList.remove("here");
          });
          links.get(entry.target.id).classList.add("here");
        }
      });
    }, { rootMargin: "-10% 0px -75% 0px" });
    document.querySelectorAll("main > section").forEach(function (section) {
      observer.observe(section);
    });
  }
})();
