// Imported first, and without imports of its own, so that an old Node gets as far as this sentence.
const needed = [20, 19];
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < needed[0] || (major === needed[0] && minor < needed[1])) {
  console.error(
    `Starmesh needs Node.js ${needed.join('.')} or newer, and this is ${process.versions.node}: install a current one from nodejs.org or with your version manager.`,
  );
  process.exit(1);
}
