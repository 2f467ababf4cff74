/** MATH's boxed answers: where a box ends when braces nest, and what the published parser makes of the same text. */
import assert from "node:assert/strict";
import { splitBoxed } from "../../data/boxed.ts";

const balanced = (solution: string) => splitBoxed(solution, "balanced");
const released = (solution: string) => splitBoxed(solution, "as-released");

Deno.test("boxed: braces are matched, and what stands around the box is the steps", () => {
  const solution = "Add the halves.\n\nSo $x = \\boxed{\\frac{1}{2}}$ and $y = \\sqrt{3}$.\n";
  assert.deepEqual(balanced(solution), {
    steps: ["Add the halves.", "So $x = \\frac{1}{2}$ and $y = \\sqrt{3}$."],
    answer: "\\frac{1}{2}",
  });
  assert.equal(balanced("$\\boxed{\\{1, 2\\}}$")?.answer, "\\{1, 2\\}");
  assert.equal(balanced("$\\boxed{ 7 }$.")?.answer, "7");
  assert.equal(balanced("$\\boxed{\\text{A}}}$")?.answer, "\\text{A}");
});

Deno.test("boxed: the last of several boxes counts; other spellings do too; none is no answer", () => {
  assert.deepEqual(balanced("First $\\boxed{1}$.\nThen $\\boxed{2}$."), {
    steps: ["First $\\boxed{1}$.", "Then $2$."],
    answer: "2",
  });
  assert.equal(balanced("$\\fbox{12}$")?.answer, "12");
  assert.equal(balanced("$\\boxed 7$.")?.answer, "7");
  assert.equal(balanced("$\\boxed \\pi$")?.answer, "\\pi");
  for (const none of ["no box", "$\\boxed{}$", "$\\boxed{\\frac{1}{2}$", "\\boxed "]) {
    assert.equal(balanced(none), undefined, none);
  }
});

Deno.test("boxed as released: the box runs to the last brace, several boxes or none drop the row", () => {
  assert.deepEqual(released("So $x = \\boxed{\\frac{1}{2}}$ and $y = \\sqrt{3}$."), {
    steps: ["So $x = \\frac{1}{2}}$ and $y = \\sqrt{3$."],
    answer: "\\frac{1}{2}}$ and $y = \\sqrt{3",
  });
  assert.deepEqual(released("So $\\boxed{4}$."), { steps: ["So $4$."], answer: "4" });
  for (const dropped of ["no box", "$\\boxed{1}$ or $\\boxed{2}$", "$\\fbox{12}$", "$\\boxed 7$"]) {
    assert.equal(released(dropped), undefined, dropped);
  }
});
