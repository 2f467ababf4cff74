/** Variables of the environment for a test. */

/** Runs work with these variables set, and puts back what they were; work is left out, with a reason, where that is not permitted. */
export async function withEnvironment(
  variables: Readonly<Record<string, string>>,
  work: () => Promise<void>,
): Promise<void> {
  const names = Object.keys(variables);
  const refused = names.filter((variable) =>
    Deno.permissions.querySync({ name: "env", variable }).state !== "granted"
  );
  if (refused.length > 0) return console.log(`skipped, needs --allow-env=${refused.join()}`);
  const before = names.map((name) => Deno.env.get(name));
  try {
    for (const name of names) Deno.env.set(name, variables[name]);
    await work();
  } finally {
    names.forEach((name, i) => {
      const value = before[i];
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    });
  }
}
