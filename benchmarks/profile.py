"""stub"""
async def shares(pid, folder, work):
    await work()
    return None
