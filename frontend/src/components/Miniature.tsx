/** "Paper in miniature": the one button that a newcomer needs. */
import { Button } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { IconArrowRight, IconPlayerPlay } from '@tabler/icons-react';
import { Link, useNavigate } from 'react-router';
import { AGAIN, isLost, titleOf, useAttempt } from '../api/attempt';
import { api, data, messageOf } from '../api/client';
import { AlgorithmChip } from './parts';

export const SIZES = [
  { size: 'ci', title: 'Quick look', time: 'under 2 minutes', text: 'A very small model, just enough steps to see the reward rise.' },
  { size: 'laptop', title: 'Laptop', time: 'under 15 minutes', text: 'More data and more steps, for curves that are worth reading.' },
] as const;

export function useMiniature() {
  const navigate = useNavigate();
  const client = useQueryClient();
  const attempt = useAttempt();
  return useMutation({
    mutationFn: (size: 'ci' | 'laptop') => attempt(size, (header) => data(api.POST('/api/v1/pipelines', { params: { header }, body: { preset: 'miniature', size } as never }))),
    onSuccess: (pipeline) => {
      void client.invalidateQueries({ queryKey: ['runs'] });
      void client.invalidateQueries({ queryKey: ['pipelines'] });
      void navigate(`/runs?pipeline=${pipeline.id}`);
    },
    onError: (error) => notifications.show({ color: 'red', title: isLost(error) ? titleOf(error) : 'The pipeline was not queued', message: isLost(error) ? `${messageOf(error)} ${AGAIN}` : messageOf(error), autoClose: 10_000 }),
  });
}

export function Welcome() {
  const miniature = useMiniature();
  return (
    <div className="panel">
      <div className="empty">
        <div>
          <h2>See the paper in miniature</h2>
          <p>One button trains three small models after each other on a built-in summarisation task, on this machine, and draws the reward as it rises. The task’s own gold reward is drawn beside the learned one.</p>
        </div>
        <div className="stages"><AlgorithmChip algorithm="sft" /><IconArrowRight size={14} /><AlgorithmChip algorithm="reward_model" /><IconArrowRight size={14} /><AlgorithmChip algorithm="copg" /></div>
        <div className="sizes">
          {SIZES.map((one, index) => (
            <section className="panel size" key={one.size}>
              <h3>{one.title} <span className="muted" style={{ fontWeight: 400 }}>· {one.time}</span></h3>
              <p>{one.text} Two CPU cores are enough.</p>
              <Button mt={4} variant={index === 0 ? 'filled' : 'default'} leftSection={<IconPlayerPlay size={15} />} data-testid={`miniature-${one.size}`} loading={miniature.isPending && miniature.variables === one.size} onClick={() => miniature.mutate(one.size)}>Paper in miniature, {one.title.toLowerCase()}</Button>
            </section>
          ))}
        </div>
        <p>Or <Link to="/launch">launch a run</Link> on your own model and data: files (jsonl, csv, parquet) and hub data sets, with the paper’s settings as defaults.</p>
      </div>
    </div>
  );
}
