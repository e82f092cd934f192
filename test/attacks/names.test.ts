import { play } from './attack.js';
import { nameCases } from './names.js';

// Patterns that every client id and user name is matched against.
const pattern = '^(a+)+$|^(a|a)*b$|^([0-9]+\\\\.)*x$';

play(nameCases, {
  settings: `authorization.sources = [{ type = file, rules = [
    { permission = deny, clientid_re = "${pattern}", action = all, topics = ["refused"] }
    { permission = deny, username_re = "${pattern}", action = all, topics = ["refused/#"] }
  ] }]`,
});
