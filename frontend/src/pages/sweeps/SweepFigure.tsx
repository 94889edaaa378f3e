/** Final reward against beta, drawn again when the sweep's runs have moved. */
import { Drawn } from '../../components/Drawn';
import { useSweepFigure } from './queries';

export function SweepFigure({ sweep }: { sweep: string }) {
  const { data: answer, error } = useSweepFigure(sweep);
  return (
    <div style={{ marginBottom: 18 }}>
      <Drawn name="final_reward" title="Reward at the end" answer={answer} error={error} csv={`/api/v1/figures/final_reward?sweep=${sweep}&format=csv`} empty="No reward is measured yet: the figure begins with the first evaluation." />
    </div>
  );
}
