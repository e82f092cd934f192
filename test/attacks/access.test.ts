import { accessCases, accessLab } from './access.js';
import { play } from './attack.js';
import { rightCases } from './rights.js';

play([...accessCases, ...rightCases], accessLab);
