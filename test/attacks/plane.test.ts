import { play } from './attack.js';
import { planeCases, planeLab } from './plane.js';

play(planeCases, planeLab);
