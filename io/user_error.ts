/** Which errors are the user's to mend, and are told in a line, and which are the program's own, and keep their stack. */

// V8's own words for a fault of the program, in types that this project also uses for users' mistakes.
const FAULT =
  /^(Cannot |Maximum call stack|Invalid (array|typed array|string) length)|( is not (a function|iterable|a constructor)|is not defined)\b/;

const SYSTEM = [
  Deno.errors.NotFound,
  Deno.errors.PermissionDenied,
  Deno.errors.NotCapable,
  Deno.errors.NotADirectory,
  Deno.errors.FilesystemLoop,
];

/** Deno asks for a flag that no task takes where a path is below /proc, /dev or /sys. */
function withoutFlag(message: string): string {
  return message.replace(
    /^Requires all access to (".*"), run again with the --allow-all flag$/,
    (_, path) => `${path} is the system's, not a place for files; name a file or folder elsewhere`,
  );
}

/**
 * The line that tells a user's mistake.
 * @returns undefined for an error of the program
 */
export function userMessage(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const isTyped = error instanceof RangeError || error instanceof TypeError ||
    error instanceof SyntaxError;
  const isSystem = SYSTEM.some((type) => error instanceof type);
  // io wraps what the system refuses, and the device says in its own words what it cannot do.
  const isWrapped = error.constructor === Error &&
    (error.cause !== undefined || /^(No WebGPU adapter|GPU: )/.test(error.message));
  const isMistake = isTyped && !FAULT.test(error.message) || isSystem || isWrapped;
  return isMistake ? withoutFlag(error.message).replace(/\s*\n\s*/g, " ") : undefined;
}
