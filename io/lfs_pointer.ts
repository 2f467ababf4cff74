/**
 * Git LFS pointers: the few lines of text that stand for a large file where a repository was cloned without Git LFS.
 *
 * Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md ("version" is the first line of every pointer).
 */

const START = new TextEncoder().encode("version https://git-lfs.github.com/");

/** The most bytes of a file that {@link refuseLfsPointer} looks at. */
export const LFS_HEAD = START.length;

/**
 * Refuses a pointer, before a parser says of its text what no one understands.
 * @param head the file's first bytes; 8 are enough where no other file begins with `version `
 * @param file its name, for messages
 * @throws {TypeError} saying what it is and how to fetch the file.
 */
export function refuseLfsPointer(head: Uint8Array, file: string): void {
  if (head.length < "version ".length) return;
  if (START.subarray(0, head.length).some((byte, i) => head[i] !== byte)) return;
  throw new TypeError(`${file}: a Git LFS pointer instead of the file; fetch it: git lfs pull`);
}
