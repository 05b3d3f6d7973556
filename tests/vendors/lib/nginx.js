export async function startNginx() { throw new Error('later'); }
